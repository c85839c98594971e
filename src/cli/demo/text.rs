//! What the demo says in the terminal: where everything is, what to paste, and what each should answer.

use std::fmt::Write;
use std::net::SocketAddr;

use super::start::{Places, Ports};

/// The greeting, the places, and the commands to paste.
pub fn greeting(places: &Places, wished: &Ports, folder: &str) -> String {
    let mut text = "Postern demo — everything on this machine, nothing leaves it\n\n".to_owned();
    let rows = [
        ("gateway", places.gateway, wished.gateway, "", "what you put in front"),
        ("orders API", places.orders, wished.orders, "", "has no authentication of its own"),
        ("legacy shop", places.shop, wished.shop, "", "reads X-Forwarded-User, knows nothing of OAuth"),
        (
            "identity provider",
            places.provider,
            wished.provider,
            "",
            "for development only (alice / wonderland, bob / builder)",
        ),
        ("status", places.status, wished.status, "/status", ""),
    ];
    for (name, address, port, path, what) in rows {
        let taken = if address.port() == port { String::new() } else { format!(" (port {port} is taken)") };
        let line = format!("  {name:<17}  {:<25}  {what}{taken}", format!("http://{address}{path}"));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str("\nTry it:\n");
    let commands = commands(places.gateway, folder);
    let width = commands.iter().map(|(command, ..)| command.len()).max().unwrap_or_default();
    for (command, status, why) in commands {
        let _ = writeln!(text, "  {command:<width$}  {status}  {why}");
    }
    let _ = writeln!(text, "  open http://{}/shop and sign in as alice", places.gateway);
    let _ = writeln!(text, "  open http://{}/ for the same with buttons\n", places.gateway);
    text.push_str("✓ ready — each request below is one line: who, route, verdict, why\n");
    text
}

fn commands(gateway: SocketAddr, folder: &str) -> Vec<(String, u16, &'static str)> {
    let with = |name: &str| format!("-H \"Authorization: Bearer $(cat {folder}/{name}.jwt)\"");
    let at = |path: &str| format!("http://{gateway}{path}");
    vec![
        (format!("curl -i {}", at("/orders")), 401, "no token"),
        (format!("curl -i {} {}", with("machine"), at("/orders")), 200, "scope orders:read"),
        (format!("curl -i -X POST {} {}", with("machine"), at("/orders")), 403, "needs orders:write"),
        (format!("curl -i -X POST {} {}", with("user"), at("/orders")), 201, "alice may write"),
        (format!("curl -i {} {}", with("expired"), at("/orders")), 401, "expired an hour ago"),
        (format!("curl -i {} {}", with("wrong-scope"), at("/orders")), 403, "needs orders:read"),
        (format!("curl -i {} {}", with("user"), at("/orders/admin/totals")), 200, "policy: alice is an admin"),
        (format!("curl -i -H \"X-Forwarded-User: alice\" {}", at("/public/headers")), 200, "the forged name is gone"),
        (format!("curl -i {} {}", with("user"), at("/shop")), 200, "greets alice by her header"),
        (format!("curl -i {}", at("/shop")), 401, "no session: programs are told where to sign in"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(gateway: u16) -> Places {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Places { gateway: at(gateway), orders: at(8081), shop: at(8082), provider: at(8083), status: at(9090) }
    }

    #[test]
    fn a_port_that_was_taken_is_told() {
        let usual = greeting(&places(8080), &Ports::USUAL, "demo");
        assert!(usual.contains("  gateway            http://127.0.0.1:8080      what you put in front\n"), "{usual}");
        assert!(!usual.contains("taken"));
        let moved = greeting(&places(40001), &Ports::USUAL, "demo");
        assert!(moved.contains("http://127.0.0.1:40001     what you put in front (port 8080 is taken)"), "{moved}");
        assert!(!moved.contains("127.0.0.1:8080"));
    }

    #[test]
    fn commands_can_be_pasted() {
        for (command, ..) in commands(places(8080).gateway, "demo") {
            assert!(command.starts_with("curl ") && !command.contains('…'), "{command}");
        }
    }
}
