//! Answers from a file, for scripts: a map from a question's name to its answer. Every one that is asked has to be there, or
//! to have a default, and nothing else may be: an answer to a question that is not asked is a misunderstanding.

use std::collections::BTreeMap;

use serde_json::Value;

use super::questions::{Answers, Kind, QUESTIONS};
use crate::config::diagnostic::suggestion;

/// Takes the answers that are asked for.
///
/// # Errors
/// Everything that is wrong with them, one line each.
pub fn read(text: &str) -> Result<Answers, Vec<String>> {
    let given: BTreeMap<String, Value> =
        serde_saphyr::from_str(text).map_err(|error| vec![format!("no map of answers: {error}")])?;
    let (mut answers, mut wrong) = (Answers::new(), Vec::new());
    let names = || QUESTIONS.iter().map(|question| question.name);
    for name in given.keys().filter(|name| !names().any(|known| known == name.as_str())) {
        let hint =
            suggestion(name, names().collect::<Vec<_>>()).unwrap_or_else(|| names().collect::<Vec<_>>().join(", "));
        wrong.push(format!("`{name}` is no question; {hint}"));
    }
    for question in QUESTIONS {
        let answer = given.get(question.name).map(text_of);
        match (answer, (question.when)(&answers)) {
            (Some(_), false) => wrong.push(format!("`{}` is not asked after the other answers", question.name)),
            (None, false) => {}
            (Some(answer), true) => match question.take(&answer) {
                Ok(answer) => drop(answers.insert(question.name, answer)),
                Err(expected) => wrong.push(format!("`{}`: expected {expected}, found `{answer}`", question.name)),
            },
            (None, true) => match question.kind {
                Kind::Text { default: Some(default), .. } => drop(answers.insert(question.name, default.to_owned())),
                _ => wrong.push(format!("`{}` is missing: {}", question.name, question.text)),
            },
        }
        if wrong.iter().any(|line| line.starts_with(&format!("`{}`", question.name)))
            && matches!(question.kind, Kind::Choice(_))
        {
            // What follows hangs on it.
            break;
        }
    }
    if wrong.is_empty() { Ok(answers) } else { Err(wrong) }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
