//! The one page that a browser gets instead of problem JSON: small, without external resources, dark and light.

use crate::wire::html::escape;

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

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_in_a_page_is_markup_but_ours() {
        let page = super::refusal(403, "a", "b", "<script>\"'&");
        assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;"));
        assert!(!page.contains("{title}"));
    }
}
