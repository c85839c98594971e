//! The configuration as its users meet it: every file in `config/` is right and complete, and what is wrong is answered
//! as `tests/golden/` says. `POSTERN_BLESS=1 cargo test --test config` rewrites the golden reports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should say so and stop"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use postern::config::{self, File, Sources, ZeroFile};
use postern::plan;
use serde_json::Value;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| matches!(path.extension().and_then(|extension| extension.to_str()), Some("yaml" | "toml")))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

fn document(path: &Path, text: &str) -> Value {
    if path.extension().is_some_and(|extension| extension == "toml") {
        return toml::from_str(text).unwrap();
    }
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whatever an example takes from the environment, with 32 bytes in base64, which serve as a secret and as a key.
fn environment(text: &str) -> config::Environment {
    const VALUE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let names = lines.filter_map(|line| line.split_once("env: ")?.1.split([' ', '}']).next());
    // Only a name tells a key from a secret.
    let key = || rcgen::KeyPair::generate().unwrap().serialize_pem();
    names.map(|name| (name, if name == "CLIENT_KEY" { key() } else { VALUE.to_owned() })).collect()
}

fn schema() -> Value {
    serde_json::to_value(config::schema()).unwrap()
}

/// `config/postern.yaml` with every key that is off turned on.
fn everything() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/postern.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().map(|line| match line.trim_start().strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '-') => {
            format!("{}{key}", &line[..line.len() - line.trim_start().len()])
        }
        _ => line.to_owned(),
    });
    (path.clone(), lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn every_file_in_config_checks_without_a_warning() {
    // Where a platform would put its tokens.
    let mounted = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokens");
    std::fs::create_dir_all(&mounted).unwrap();
    std::fs::write(mounted.join("issuer"), "a.projected.token\n").unwrap();
    for path in files("config") {
        let text = std::fs::read_to_string(&path).unwrap();
        let environment = environment(&text);
        let text = text.replace("/var/run/secrets/tokens", mounted.to_str().unwrap());
        let sources =
            Sources { file: File::Text { path: path.clone(), text }, environment, zero_file: ZeroFile::default() };
        let loaded = config::load(sources).unwrap_or_else(|report| panic!("{report}"));
        let checked = plan::check(&loaded).unwrap_or_else(|report| panic!("{report}"));
        // A recipe that is named legacy is warned of as such, and of nothing else.
        let is_legacy = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("legacy-basic"));
        let warnings = checked.warnings.diagnostics();
        let expected = |found: &config::Diagnostic| is_legacy && found.message.starts_with("legacy: ");
        assert!(warnings.iter().all(expected), "{}", checked.warnings);
        assert_eq!(!warnings.is_empty(), is_legacy, "{}", path.display());
    }
}

#[test]
fn every_file_in_config_is_valid_by_the_json_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let (path, text) = everything();
    let mut documents = vec![(path.clone(), document(&path, &text))];
    documents.extend(files("config").into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        let document = document(&path, &text);
        (path, document)
    }));
    for (path, document) in documents {
        let errors: Vec<String> =
            validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn the_json_schema_refuses_what_reading_refuses() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let wrong = [
        "{ serverr: {} }",
        "{ sessions: { store: file } }",
        "{ server: { drain_delay: 5 } }",
        "{ issuers: { a: { algorithms: [HS256] } } }",
        "{ routes: [{ access: pubic }] }",
        "{ server: { limits: { fields: -1 } } }",
    ];
    for text in wrong {
        assert!(!validator.is_valid(&document(Path::new("x.yaml"), text)), "{text}");
        let loaded = config::load(Sources::text("x.yaml", text)).unwrap();
        assert!(loaded.findings.has_errors(), "{text}");
    }
}

#[test]
fn the_reference_file_reads_with_every_key_turned_on() {
    let (path, text) = everything();
    let loaded = config::load(Sources::text(path, text)).unwrap_or_else(|report| panic!("{report}"));
    assert!(loaded.findings.is_empty(), "{}", loaded.findings);
}

#[test]
fn the_reference_file_has_every_key_and_the_defaults() {
    let (path, text) = everything();
    let all = config::load(Sources::text("postern.yaml", text.clone())).unwrap().config;
    let written = document(&path, &text);
    let mut in_file = BTreeSet::new();
    keys_of_document(&written, String::new(), &mut in_file);
    let schema = schema();
    let mut known = BTreeSet::new();
    keys_of_schema(&schema, &schema, String::new(), &mut known);
    assert!(known.len() > 80, "the walk of the schema found only {known:?}");
    let missing: Vec<_> = known.difference(&in_file).collect();
    assert!(missing.is_empty(), "config/postern.yaml has no line for {missing:?}");

    let defaults = serde_json::to_value(config::Config::default()).unwrap();
    let read = config::load(Sources::text("postern.yaml", std::fs::read_to_string(path).unwrap())).unwrap().config;
    let read = serde_json::to_value(read).unwrap();
    for section in ["server", "admin", "telemetry"] {
        assert_eq!(read[section], defaults[section], "config/postern.yaml shows other defaults for `{section}`");
    }
    let client = serde_json::to_value(&all.clients["shop-web"]).unwrap();
    shows_the_defaults_of("clients", &client, &serde_json::to_value(config::client::Client::default()).unwrap());
    let mut site = serde_json::to_value(&all.sites["shop"]).unwrap();
    let mut default = serde_json::to_value(config::site::Site::default()).unwrap();
    // Examples of what has no default, or a name made of the site's own.
    for key in ["url", "sign_in", "authorize", "cookie", "after_sign_out", "pages"] {
        for site in [&mut site, &mut default] {
            site.as_object_mut().unwrap().remove(key);
        }
    }
    shows_the_defaults_of("sites", &site, &default);
    for (section, entry) in [("issuers", "corp"), ("upstreams", "orders")] {
        let default = match section {
            "issuers" => serde_json::to_value(config::issuer::Issuer::default()).unwrap(),
            _ => serde_json::to_value(config::upstream::Upstream::default()).unwrap(),
        };
        for (key, value) in default.as_object().unwrap().iter().filter(|(key, _)| *key != "servers") {
            assert_eq!(
                &read[section][entry][key], value,
                "config/postern.yaml shows another default for `{section}.*.{key}`"
            );
        }
    }
}

/// What has no default that could run is off in the file, and shows its defaults all the same.
fn shows_the_defaults_of(section: &str, entry: &Value, default: &Value) {
    for (key, value) in default.as_object().unwrap() {
        assert_eq!(&entry[key], value, "config/postern.yaml shows another default for `{section}.*.{key}`");
    }
}

/// `issuers.*.jwks.refresh`, `routes[].match.path`: names of entries and indexes left out.
fn keys_of_document(value: &Value, at: String, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let key = if ["issuers", "clients", "sites", "upstreams"].contains(&at.as_str()) { "*" } else { key };
                let at = format!("{at}.{key}").trim_start_matches('.').to_owned();
                found.insert(at.clone());
                keys_of_document(value, at, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys_of_document(item, format!("{at}[]"), found)),
        _ => {}
    }
}

fn keys_of_schema(root: &Value, schema: &Value, at: String, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).unwrap();
        // Secrets and claim rules are values, not sections: their forms are in the text of their line.
        if !["Secret", "ClaimRule"].iter().any(|value| name.ends_with(value)) {
            keys_of_schema(root, target, at.clone(), found);
        }
    }
    for alternative in schema["anyOf"].as_array().into_iter().flatten() {
        keys_of_schema(root, alternative, at.clone(), found);
    }
    if schema.get("items").is_some() {
        keys_of_schema(root, &schema["items"], format!("{at}[]"), found);
    }
    if schema["additionalProperties"].is_object() {
        keys_of_schema(root, &schema["additionalProperties"], format!("{at}.*"), found);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let later = property.get("not").is_some()
            || property["anyOf"].as_array().into_iter().flatten().any(|one| one.get("not").is_some());
        if !later {
            let at = format!("{at}.{key}").trim_start_matches('.').to_owned();
            found.insert(at.clone());
            keys_of_schema(root, property, at, found);
        }
    }
}

fn report_on(path: &Path) -> String {
    let name = path.file_name().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let report = match config::load(Sources::text(name, text)) {
        Err(report) => report,
        Ok(loaded) => match plan::check(&loaded) {
            Err(report) => report,
            Ok(checked) => checked.warnings,
        },
    };
    format!("{report}{} — nothing was started\n", report.counts())
}

#[test]
fn what_is_wrong_is_reported_as_the_golden_files_say() {
    for path in files("tests/golden") {
        let golden = path.with_extension(format!("{}.txt", path.extension().unwrap().to_str().unwrap()));
        let report = report_on(&path);
        if std::env::var_os("POSTERN_BLESS").is_some() {
            std::fs::write(&golden, &report).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(report, expected, "{}", golden.display());
    }
}
