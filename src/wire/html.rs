//! Text that may stand in an HTML page, between tags or inside a quoted attribute.

/// Escapes what could be taken for markup.
pub fn escape(text: &str) -> String {
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
    fn nothing_is_left_that_a_browser_takes_for_markup() {
        assert_eq!(super::escape("<a href='x'>\"&é"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;é");
    }
}
