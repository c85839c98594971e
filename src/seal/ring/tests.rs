use super::*;

fn keys(bytes: &[u8]) -> MasterKeys {
    MasterKeys::new(bytes.iter().map(|byte| MasterKey::from_bytes([*byte; 32]))).unwrap()
}

fn opens(ring: &KeyRing, name: &[u8], sealed: &[u8]) -> bool {
    ring.open(name, sealed).is_ok()
}

#[test]
fn what_was_sealed_comes_out_again() {
    let ring = keys(&[1]).ring("session");
    for plain in [&b""[..], b"x", &[7; 4000]] {
        let sealed = ring.seal(b"cookie", plain);
        assert_eq!(sealed.len(), plain.len() + OVERHEAD);
        let opened = ring.open(b"cookie", &sealed).unwrap();
        assert_eq!((opened.plain.as_slice(), opened.is_current), (plain, true));
    }
    let text = ring.seal_text("cookie", b"hello");
    assert_eq!(ring.open_text("cookie", &text).unwrap().plain.as_slice(), b"hello");
}

#[test]
fn the_same_value_is_never_sealed_to_the_same_bytes() {
    let ring = keys(&[1]).ring("session");
    let all: std::collections::HashSet<_> = (0..1000).map(|_| ring.seal(b"n", b"v")).collect();
    assert_eq!(all.len(), 1000);
}

#[test]
fn a_value_opens_only_for_its_purpose_and_its_name() {
    let keys = keys(&[1]);
    let sealed = keys.ring("session").seal(b"__Host-postern-shop", b"v");
    assert!(opens(&keys.ring("session"), b"__Host-postern-shop", &sealed));
    assert!(!opens(&keys.ring("transaction"), b"__Host-postern-shop", &sealed));
    for name in [&b"__Host-postern-shop2"[..], b"__Host-postern-sho", b"", b"x"] {
        assert!(!opens(&keys.ring("session"), name, &sealed), "{name:?}");
    }
}

#[test]
fn the_first_key_seals_and_all_open() {
    let old = keys(&[1]).ring("session").seal(b"n", b"v");
    let rotated = keys(&[2, 1]).ring("session");
    let opened = rotated.open(b"n", &old).unwrap();
    assert!(!opened.is_current, "it is to be sealed anew");
    let new = rotated.seal(b"n", b"v");
    assert!(opens(&keys(&[2]).ring("session"), b"n", &new));
    assert!(!opens(&keys(&[1]).ring("session"), b"n", &new), "a key that left opens nothing new");
    assert!(!opens(&keys(&[2]).ring("session"), b"n", &old), "a key that left opens nothing old");
    assert!(opens(&keys(&[1, 2]).ring("session"), b"n", &new), "replicas that are not there yet can read it");
}

#[test]
fn no_change_of_any_bit_goes_unnoticed() {
    let ring = keys(&[1, 2]).ring("session");
    let sealed = ring.seal(b"n", b"a value");
    for at in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert_eq!(ring.open(b"n", &changed).err(), Some(NotSealedHere), "bit {at}");
    }
    for length in 0..sealed.len() {
        assert!(!opens(&ring, b"n", &sealed[..length]), "{length} bytes of it");
    }
    assert!(!opens(&ring, b"n", &[sealed.as_slice(), b"x"].concat()));
    assert!(!opens(&ring, b"n", &[sealed.as_slice(), &sealed].concat()));
}

#[test]
fn a_text_has_one_spelling() {
    let ring = keys(&[1]).ring("session");
    // 33 + 1 bytes: the last digit has bits to spare.
    let text = ring.seal_text("n", b"v");
    let stray = text.chars().last().map(|last| char::from_u32(last as u32 + 1).unwrap()).unwrap();
    let (rest, _) = text.split_at(text.len() - 1);
    for other in [format!("{text}="), format!("{text}=="), format!(" {text}"), format!("{rest}{stray}"), "%".into()] {
        assert_eq!(ring.open_text("n", &other).err(), Some(NotSealedHere), "{other}");
    }
    assert!(ring.open_text("n", &text).is_ok());
}

#[test]
fn a_key_of_a_single_cookie_opens_what_it_sealed_and_no_other_does() {
    let key = MasterKey::random();
    let sealed = key.ring("session record").seal(b"id", b"v");
    assert!(opens(&MasterKey::from_bytes(*key.expose()).ring("session record"), b"id", &sealed));
    assert!(!opens(&MasterKey::random().ring("session record"), b"id", &sealed));
}

#[test]
fn digest_keys_are_shared_by_key_and_apart_by_purpose() {
    let (one, other) = (keys(&[1, 2]), keys(&[1, 3]));
    let digest = |keys: &MasterKeys, purpose| keys.digest_key(purpose).digest(b"token");
    assert!(digest(&one, "a") == digest(&other, "a"), "replicas with the same first key agree");
    assert!(digest(&one, "a") != digest(&one, "b"));
    assert!(digest(&one, "a") != digest(&keys(&[2]), "a"));
}

#[test]
fn a_key_is_32_bytes_of_base64() {
    let parse = |text: &str| MasterKey::parse(&Secret::new(text.to_owned())).map(|key| *key.expose());
    let bytes: [u8; 32] = std::array::from_fn(|at| 255 - u8::try_from(at).unwrap());
    let padded = base64::engine::general_purpose::STANDARD.encode(bytes);
    let url = URL_SAFE_NO_PAD.encode(bytes);
    for good in
        [padded.clone(), padded.trim_end_matches('=').to_owned(), url.clone(), format!("{url}="), format!("{url}\n")]
    {
        assert_eq!(parse(&good), Ok(bytes), "{good}");
    }
    assert_eq!(parse("c2hvcnQ="), Err(MasterKeyError::Length(5)));
    assert_eq!(parse(&padded[1..]), Err(MasterKeyError::Length(31)));
    assert_eq!(parse("a secret of thirty-two characters"), Err(MasterKeyError::Encoding));
    assert_eq!(parse(""), Err(MasterKeyError::Length(0)));
}

#[test]
fn nothing_of_a_key_is_printed() {
    let keys = keys(&[0x41]);
    let shown = format!("{:?} {:?} {:?}", keys, MasterKey::from_bytes([0x41; 32]), keys.ring("session"));
    assert!(!shown.contains("65") && !shown.contains("41") && !shown.contains("AAAA"), "{shown}");
}
