//! `/status` for people: one page without scripts, pictures or anything from elsewhere.

use std::fmt::Write;

use super::status::{IntrospectionView, Status, VERSION};

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="10"><title>Postern: status</title><style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884 }
.ready, .healthy { color: light-dark(#176b2c, #7fd892) } .degraded, .waiting { color: light-dark(#8a5300, #f0b95c) }
.not.ready, .unhealthy { color: light-dark(#a3121f, #ff8d8d) }
</style></head><body>
"#;

pub(super) fn render(status: &Status) -> String {
    let mut page = HEAD.to_owned();
    let word = status.readiness.word();
    let uptime = status.uptime.as_secs();
    let _ = write!(
        page,
        "<h1>Postern {VERSION}</h1>\n<p><strong class=\"{word}\">{word}</strong>, up for {}h {}m {}s</p>\n",
        uptime / 3600,
        uptime / 60 % 60,
        uptime % 60
    );
    table(&mut page, "Issuers", &["name", "issuer", "standing", "keys loaded", "introspection"], |page| {
        for view in &status.issuers {
            let standing = view.standing.word();
            let loaded = view.standing.age().map(|age| format!("{}s ago", age.as_secs()));
            page.push_str("<tr>");
            cell(page, "", &view.name);
            cell(page, "", &view.issuer);
            match view.standing.error() {
                Some(error) => cell(page, standing, &format!("{standing}: {error}")),
                None => cell(page, standing, standing),
            }
            cell(page, "", loaded.as_deref().unwrap_or("never"));
            let asked = view.introspection.as_ref();
            let class = if asked.is_some_and(|asked| asked.left_alone) { "degraded" } else { "" };
            cell(page, class, &asked.map_or_else(|| "not asked".to_owned(), IntrospectionView::words));
        }
    });
    table(&mut page, "Upstreams", &["name", "server", "health"], |page| {
        for view in &status.endpoints {
            let health = if view.healthy { "healthy" } else { "unhealthy" };
            page.push_str("<tr>");
            cell(page, "", &view.upstream);
            cell(page, "", &view.address);
            cell(page, health, health);
        }
    });
    if !status.stores.is_empty() {
        table(&mut page, "Stores", &["name", "standing"], |page| {
            for view in &status.stores {
                let standing = view.standing.word();
                page.push_str("<tr>");
                cell(page, "", &view.name);
                match view.standing.error() {
                    Some(error) => cell(page, standing, &format!("{standing}: {error}")),
                    None => cell(page, standing, standing),
                }
            }
        });
    }
    if !status.upstream_tokens.is_empty() {
        table(&mut page, "Tokens for upstreams", &["client", "grant", "asked for", "standing"], |page| {
            for view in &status.upstream_tokens {
                let (class, words) = view.words();
                page.push_str("<tr>");
                cell(page, "", &view.client);
                cell(page, "", view.grant());
                cell(page, "", &view.target);
                cell(page, class, &words);
            }
        });
    }
    table(&mut page, "Routes", &["name", "matches", "upstream", "who may pass"], |page| {
        for view in &status.routes {
            page.push_str("<tr>");
            cell(page, "", &view.name);
            cell(page, "", &view.matches);
            cell(page, "", &view.upstream);
            cell(page, "", &view.access.join("; "));
        }
    });
    page.push_str(
        "<p>The same <a href=\"/metrics\">in numbers</a>; with <code>Accept: application/json</code> as JSON.</p>\n",
    );
    page.push_str("</body></html>\n");
    page
}

fn table(page: &mut String, title: &str, columns: &[&str], rows: impl FnOnce(&mut String)) {
    let _ = write!(page, "<h2>{title}</h2>\n<table><thead><tr>");
    for column in columns {
        let _ = write!(page, "<th scope=\"col\">{column}");
    }
    page.push_str("</thead><tbody>\n");
    rows(page);
    page.push_str("</tbody></table>\n");
}

fn cell(page: &mut String, class: &str, text: &str) {
    let _ = if class.is_empty() { write!(page, "<td>") } else { write!(page, "<td class=\"{class}\">") };
    for character in text.chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            other => page.push(other),
        }
    }
}
