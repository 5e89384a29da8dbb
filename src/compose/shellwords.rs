//! Splits a command line into words as Docker Compose does. Operators end the line, as there is
//! no shell.

/// The words of a line, or `None` if a quote isn't closed or a parenthesis stands bare.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut started, mut escaped) = (false, false);
    let (mut single, mut double, mut back, mut dollar) = (false, false, false, false);
    for c in line.chars() {
        if escaped {
            word.push(match c {
                't' => '\t',
                'n' => '\n',
                c => c,
            });
            (escaped, started) = (false, true);
            continue;
        }
        let quoted = single || double || back || dollar;
        match c {
            '\\' if single => word.push(c),
            '\\' => {
                escaped = true;
                continue;
            }
            ' ' | '\t' | '\r' | '\n' => {
                if quoted {
                    word.push(c);
                } else if started {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
                continue;
            }
            '`' if !single && !double && !dollar => {
                back = !back;
                word.push(c);
            }
            ')' if !single && !double && !back => {
                dollar = !dollar;
                word.push(c);
            }
            '(' if !single && !double && !back => {
                if dollar || !word.ends_with('$') {
                    return None;
                }
                dollar = true;
                word.push(c);
                continue;
            }
            '"' if !single && !dollar => {
                double = !double;
                started = true;
                continue;
            }
            '\'' if !double && !dollar => {
                single = !single;
                started = true;
                continue;
            }
            ';' | '&' | '|' | '<' | '>' if !quoted => {
                // A file descriptor before `>` belongs to the redirection.
                if c == '>' && word.starts_with(|c: char| c.is_ascii_digit()) {
                    started = false;
                }
                break;
            }
            _ => word.push(c),
        }
        started = true;
    }
    if started {
        words.push(word);
    }
    (!escaped && !single && !double && !back && !dollar).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_split_as_docker_compose_splits_them() {
        for (line, words) in [
            ("a \"b c\" d", Some(vec!["a", "b c", "d"])),
            ("a 'b \"c'", Some(vec!["a", "b \"c"])),
            ("a\\ b", Some(vec!["a b"])),
            ("a \"\" b", Some(vec!["a", "", "b"])),
            ("echo <a> b", Some(vec!["echo"])),
            ("a; b", Some(vec!["a"])),
            ("", Some(vec![])),
            ("a \"b", None),
            ("a (b)", None),
        ] {
            let words = words.map(|w| w.into_iter().map(String::from).collect::<Vec<_>>());
            assert_eq!(split(line), words, "{line}");
        }
    }
}
