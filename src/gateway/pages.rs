//! The one page that a browser gets instead of problem JSON: small, without external resources, dark and light.

/// `title` and `text` are ours; nothing of the request is in them but the id, which is escaped.
pub fn refusal(status: u16, title: &str, text: &str, request_id: &str) -> String {
    include_str!("../assets/refusal.html")
        .replace("{status}", &status.to_string())
        .replace("{title}", &escape(title))
        .replace("{text}", &escape(text))
        .replace("{request_id}", &escape(request_id))
}

/// Allows nothing but the page's own style.
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_in_a_page_is_markup_but_ours() {
        let page = super::refusal(403, "a", "b", "<script>\"'&");
        assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;"));
        assert!(!page.contains("{title}"));
    }
}
