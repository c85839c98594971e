//! The questions at a terminal: plain lines, numbered choices, nothing that a screen reader or a slow line would trip over.
//! An answer that is none is asked for again, with what is expected.

use std::io::{self, BufRead, Write};

use super::questions::{Answers, Kind, QUESTIONS, Question};

/// What stands before every answer.
pub const PROMPT: &str = "> ";

/// Asks all questions that the answers lead to. `decided` is told once, when the grant is known.
///
/// # Errors
/// When the terminal is gone.
pub fn ask(
    input: &mut impl BufRead,
    output: &mut impl Write,
    mut decided: impl FnMut(&Answers, &mut dyn Write) -> io::Result<bool>,
) -> io::Result<Answers> {
    let mut answers = Answers::new();
    let mut is_decided = false;
    for question in QUESTIONS {
        if (question.when)(&answers) {
            if !is_decided {
                is_decided = decided(&answers, output)?;
            }
            let answer = one(question, input, output)?;
            answers.insert(question.name, answer);
        }
    }
    Ok(answers)
}

fn one(question: &Question, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<String> {
    writeln!(output, "\n{}\n  {}", question.text, question.why)?;
    match &question.kind {
        Kind::Choice(choices) => {
            for (number, (_, text)) in choices.iter().enumerate() {
                writeln!(output, "  {}) {text}", number + 1)?;
            }
        }
        Kind::Text { default: Some(default), .. } if !default.is_empty() => writeln!(output, "  [{default}]")?,
        Kind::Text { default: Some(_), .. } => writeln!(output, "  [none]")?,
        Kind::Text { default: None, .. } => {}
    }
    loop {
        write!(output, "{PROMPT}")?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match question.take(&line) {
            Ok(answer) => return Ok(answer),
            Err(expected) => writeln!(output, "  Expected: {expected}.")?,
        }
    }
}
