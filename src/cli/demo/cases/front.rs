//! Sign-ins whose tokens come through the browser: hybrid and implicit answers, posted by the provider's page; and for each
//! the one mistake that it must not forgive.

use super::super::check::{Check, timed};
use super::site::seen;
use super::visitor::Visitor;
use crate::devidp::{Endpoint, Fault, Lie};

pub async fn run(check: &mut Check) {
    let port = check.gateway().port();
    let (hybrid, implicit) = (format!("http://127.0.0.2:{port}"), format!("http://127.0.0.3:{port}"));
    for (case, site) in [
        ("sign in by a hybrid answer, code id_token token", &hybrid),
        ("sign in by an implicit answer, id_token", &implicit),
    ] {
        let going = timed(check, async {
            seen(Visitor::default().sign_in(check, &format!("{site}/shop")).await?, "Welcome back, alice")
        });
        let going = going.await;
        check.row(case, "200", going);
    }
    for (case, site, lie) in [
        ("hybrid, c_hash of another code", &hybrid, Lie::WrongCodeHash),
        ("hybrid, at_hash of another token", &hybrid, Lie::WrongAccessTokenHash),
        ("hybrid, two ID tokens about two people", &hybrid, Lie::WrongSubject),
        ("implicit, the nonce of another sign-in", &implicit, Lie::WrongNonce),
        ("implicit, without a nonce", &implicit, Lie::MissingNonce),
    ] {
        check.demo.provider.set_fault(Endpoint::Authorize, Fault::Lie(lie));
        let going = timed(check, async {
            seen(Visitor::default().sign_in(check, &format!("{site}/shop")).await?, "That did not work")
        });
        let going = going.await;
        check.demo.provider.clear_faults();
        check.row(case, "400", going);
    }
}
