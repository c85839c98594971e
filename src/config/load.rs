//! Merging and reading. Comes in: [`Sources`]. Goes out: [`Loaded`], with every mistake of form noted at its place.
//!
//! Reading does not stop at the first mistake: what is wrong is noted, struck out, and the rest is read again. A later
//! check can ask [`Loaded::is_struck`], so that a struck value is not also reported as missing.

use std::io::Read;
use std::path::{Path, PathBuf};

use figment::error::{Actual, Error, Kind};
use figment::value::{Dict, Map, Value as Merged};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Deserialize;

use super::Config;
use super::diagnostic::{Diagnostic, Report, Severity};
use super::environment::Environment;
use super::fault;
use super::layers::{self, LayerError, ZeroFile};
use super::place::{Origin, Place, Segment, Spot, ValuePath};
use super::places::{Places, SECRET_KEYS};
use super::syntax::Format;
use super::tree::{Node, Value};

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "postern.yaml";
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Reading gives up after so many mistakes of form.
const MAX_FAULTS: usize = 100;

/// Where the file comes from.
#[derive(Clone, Debug)]
pub enum File {
    /// `--config FILE`.
    Named(PathBuf),
    /// [`DEFAULT_FILE`] in this folder, if it exists.
    DefaultIn(PathBuf),
    /// Text that is at hand, as if it had been read from `path`.
    Text { path: PathBuf, text: String },
}

/// Everything that configuration may come from.
#[derive(Clone, Debug)]
pub struct Sources {
    pub file: File,
    pub environment: Environment,
    pub zero_file: ZeroFile,
}

impl Sources {
    /// The named file, or the default one of the current folder, with the environment of this process.
    pub fn of_process(config: Option<PathBuf>, zero_file: ZeroFile) -> Self {
        let file = config.map_or_else(|| File::DefaultIn(PathBuf::new()), File::Named);
        Self { file, environment: Environment::of_process(), zero_file }
    }

    /// Only this text; the format follows from the name.
    pub fn text(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let file = File::Text { path: path.into(), text: text.into() };
        Self { file, environment: Environment::default(), zero_file: ZeroFile::default() }
    }
}

/// A configuration that could be read, perhaps with mistakes: `findings` says which, and nothing may run while it has
/// errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub places: Places,
    pub findings: Report,
    /// Where relative paths start: the folder of the file.
    pub folder: PathBuf,
    pub environment: Environment,
    /// The file that was read, for watching it.
    pub file: Option<PathBuf>,
    struck: Vec<ValuePath>,
}

impl Loaded {
    /// Whether the value at `path` was struck out as malformed, or something in it or around it was.
    pub fn is_struck(&self, path: &ValuePath) -> bool {
        self.struck.iter().any(|struck| struck.starts_with(path) || path.starts_with(struck))
    }

    /// What was struck out directly inside `path`.
    pub fn struck_in(&self, path: &ValuePath) -> impl Iterator<Item = &ValuePath> {
        self.struck.iter().filter(move |struck| struck.parent().as_ref() == Some(path))
    }

    /// Whether the value at `path` itself, or something around it, was struck out.
    pub fn is_gone(&self, path: &ValuePath) -> bool {
        self.struck.iter().any(|struck| path.starts_with(struck))
    }
}

/// Merges and reads.
///
/// # Errors
/// A [`Report`] when there is nothing that could be read: no file, no YAML, no TOML.
pub fn load(sources: Sources) -> Result<Loaded, Report> {
    let Sources { file, environment, zero_file } = sources;
    let mut places = Places::default();
    let mut below = Vec::new();
    let file = read_file(file).map_err(|message| alone(None, message, None))?;
    let asked = zero_file.asked_for(&environment);
    match (&file, asked) {
        (Some((path, _)), Some(origin)) => return Err(beside_a_file(origin, path)),
        (Some((path, text)), None) => below.push(parse(path, text, &mut places)?),
        (None, Some(_)) => {
            let layer = zero_file.layer(&environment, &mut places.origins).map_err(report_of)?;
            below.push(layer);
        }
        (None, None) => {
            if !environment.iter().any(|(name, _)| name.starts_with(layers::PREFIX)) {
                return Err(nothing_at_all());
            }
        }
    }
    let above = layers::variables(&environment, &below, &mut places.origins).map_err(report_of)?;
    places.layers = below;
    places.layers.extend(above);
    places.mask_secrets();
    let folder = file.as_ref().and_then(|(path, _)| path.parent()).map(Path::to_path_buf).unwrap_or_default();
    let mut reading = Reading { places, findings: Report::default(), struck: Vec::new() };
    let config = reading.read();
    let Reading { places, mut findings, struck } = reading;
    findings.redraw(|spot| places.place(spot));
    let Some(config) = config else { return Err(findings) };
    Ok(Loaded { config, places, findings, folder, environment, file: file.map(|(path, _)| path), struck })
}

fn read_file(file: File) -> Result<Option<(PathBuf, String)>, String> {
    let path = match file {
        File::Text { path, text } => return Ok(Some((path, text))),
        File::Named(path) => path,
        File::DefaultIn(folder) => {
            let path = folder.join(DEFAULT_FILE);
            if !path.exists() {
                return Ok(None);
            }
            path
        }
    };
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => Err(format!("{} is larger than 8MiB", path.display())),
        Ok(_) => Ok(Some((path, text))),
    }
}

fn parse(path: &Path, text: &str, places: &mut Places) -> Result<Node, Report> {
    let Some(format) = Format::of(path) else {
        let message = format!("cannot tell the format of {}", path.display());
        return Err(alone(None, message, Some("name it .yaml, .yml or .toml".to_owned())));
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    places.origins.push(Origin::File { path: path.to_owned(), text: text.to_owned() });
    let mut node = format.parse(text).map_err(|error| {
        let place = places.place(error.spot.unwrap_or_default());
        alone(Some(place), error.message, None)
    })?;
    node.stamp(places.origins.len() - 1);
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        let place = places.place(node.spot);
        return Err(alone(
            Some(place),
            "expected a map of sections such as `server`, `issuers`, `routes`".to_owned(),
            None,
        ));
    }
    Ok(node)
}

fn beside_a_file(origin: Origin, path: &Path) -> Report {
    let message = format!("{origin} can't stand beside a configuration file, and {} is there", path.display());
    let hint = "say it in the file, or as POSTERN__SECTION__KEY".to_owned();
    alone(None, message, Some(hint))
}

fn nothing_at_all() -> Report {
    let message = format!("there is no configuration: no --config, no ./{DEFAULT_FILE}, no --issuer");
    let hint = "smallest start: postern serve --issuer URL --audience NAME --upstream URL".to_owned();
    alone(None, message, Some(hint))
}

fn alone(place: Option<Place>, message: String, hint: Option<String>) -> Report {
    let mut report = Report::default();
    report.push(Diagnostic { severity: Severity::Error, path: ValuePath::root(), message, hint, place });
    report
}

fn report_of(errors: Vec<LayerError>) -> Report {
    let mut report = Report::default();
    for LayerError { origin, keys, message, hint } in errors {
        let path = ValuePath::from(keys.into_iter().map(Segment::Key).collect::<Vec<_>>());
        let place = Place { spot: Spot::default(), label: origin.to_string(), excerpt: None };
        report.push(Diagnostic { severity: Severity::Error, path, message, hint, place: Some(place) });
    }
    report
}

/// One figment source.
struct Layer(Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named("a configuration source")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

/// The state of reading: what has been found wrong so far.
struct Reading {
    places: Places,
    findings: Report,
    struck: Vec<ValuePath>,
}

impl Reading {
    /// `None` when the findings say why nothing could be read.
    fn read(&mut self) -> Option<Config> {
        let merged =
            self.places.layers.iter().fold(Figment::new(), |figment, layer| figment.merge(Layer(layer.members())));
        let mut values: Merged = merged.extract().map_err(|error| self.note(&ValuePath::root(), &error.kind)).ok()?;
        let mut mended: Vec<(ValuePath, Kind)> = Vec::new();
        loop {
            let error = match Config::deserialize(&values) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            let path = path_of(&values, &error);
            if self.findings.errors() >= MAX_FAULTS {
                return None;
            }
            if let Some(text) =
                self.text_instead(&path, &error.kind).filter(|_| mended.iter().all(|(done, _)| *done != path))
            {
                replace(&mut values, &path, text);
                mended.push((path, error.kind));
                continue;
            }
            let first = mended.iter().find(|(done, _)| *done == path).map(|(_, kind)| kind.clone());
            self.note(&path, &first.unwrap_or(error.kind));
            self.struck.push(strike(&mut values, &path)?);
        }
    }

    /// Where text was expected, an unquoted `010` or `true` was meant as text; it is taken as it was spelt.
    fn text_instead(&self, path: &ValuePath, kind: &Kind) -> Option<Merged> {
        let scalar = matches!(
            kind,
            Kind::InvalidType(Actual::Bool(_) | Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_), _)
        );
        let raw = self.places.written(path)?.raw.clone()?;
        scalar.then(|| Merged::from(raw))
    }

    fn note(&mut self, path: &ValuePath, kind: &Kind) {
        // What is wrong with a value after something in it was struck out may follow from that.
        if self.struck.iter().any(|struck| struck != path && struck.starts_with(path)) {
            return;
        }
        // A key with nothing behind it is as if it were not written.
        if matches!(kind, Kind::InvalidType(Actual::Unit | Actual::Option, _))
            && matches!(path.segments().last(), Some(Segment::Key(_)))
        {
            return;
        }
        let secret = path
            .segments()
            .iter()
            .any(|segment| matches!(segment, Segment::Key(key) if SECRET_KEYS.contains(&key.as_str())));
        let unknown = matches!(kind, Kind::UnknownField(..));
        if unknown {
            self.places.mask_all(path);
        }
        let not_yet = matches!(kind, Kind::Message(message) if message == super::values::NOT_SUPPORTED_YET);
        let place = if unknown || not_yet { self.places.key_place(path) } else { None };
        let fault = fault::describe(kind, secret);
        self.findings.push(Diagnostic {
            severity: Severity::Error,
            place: place.or_else(|| self.places.locate(path)),
            path: path.clone(),
            message: fault.message,
            hint: fault.hint,
        });
    }
}

/// Figment's path has text only; which segment is an index follows from the values.
fn path_of(values: &Merged, error: &Error) -> ValuePath {
    let mut at = Some(values);
    let mut path = ValuePath::root();
    for text in &error.path {
        let segment = match (at, text.parse()) {
            (Some(Merged::Array(..)), Ok(index)) => Segment::Index(index),
            _ => Segment::Key(text.clone()),
        };
        at = at.and_then(|value| child(value, &segment));
        path = path.with(segment);
    }
    // A key that a visitor of ours refuses is not part of figment's path yet.
    if let (Kind::UnknownField(key, _), Some(Merged::Dict(_, members))) = (&error.kind, at)
        && members.contains_key(key)
    {
        path = path.key(key);
    }
    path
}

fn child<'a>(value: &'a Merged, segment: &Segment) -> Option<&'a Merged> {
    match (value, segment) {
        (Merged::Dict(_, members), Segment::Key(key)) => members.get(key),
        (Merged::Array(_, items), Segment::Index(index)) => items.get(*index),
        _ => None,
    }
}

fn child_mut<'a>(value: &'a mut Merged, segment: &Segment) -> Option<&'a mut Merged> {
    match (value, segment) {
        (Merged::Dict(_, members), Segment::Key(key)) => members.get_mut(key),
        (Merged::Array(_, items), Segment::Index(index)) => items.get_mut(*index),
        _ => None,
    }
}

fn find_mut<'a>(values: &'a mut Merged, path: &ValuePath) -> Option<&'a mut Merged> {
    path.segments().iter().try_fold(values, child_mut)
}

fn replace(values: &mut Merged, path: &ValuePath, value: Merged) {
    if let Some(place) = find_mut(values, path) {
        *place = value;
    }
}

/// Takes the value at `path` out and says what was taken. Items of a list keep their index, which places depend on: an
/// item that should have been a map becomes an empty one, any other takes its list along.
fn strike(values: &mut Merged, path: &ValuePath) -> Option<ValuePath> {
    let above = path.parent()?;
    match (find_mut(values, &above)?, path.segments().last()?) {
        (Merged::Dict(_, members), Segment::Key(key)) => members.remove(key).map(|_| path.clone()),
        (Merged::Array(_, items), Segment::Index(index)) => {
            let maps = items.iter().any(|item| matches!(item, Merged::Dict(..)));
            let item = items.get_mut(*index)?;
            if maps && !matches!(item, Merged::Dict(..)) {
                *item = Merged::from(Dict::new());
                Some(path.clone())
            } else {
                strike(values, &above)
            }
        }
        _ => strike(values, &above),
    }
}
