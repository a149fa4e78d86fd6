//! The environment variables that are no flags: the only place that reads them.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::Error;

/// The variable in which a launcher tells its children who it is.
pub const LAUNCHER_PID: &str = "GRISTMILL_LAUNCHER_PID";

/// A picture of the environment, taken once. Names and values that are not UTF-8 are left out.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// The value of `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of the first of `names` that is set and not empty.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().filter_map(|name| self.text(name)).find(|value| !value.is_empty())
    }

    /// The value of `name` as a number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let number = |text: &str| text.trim().parse().map_err(|_| invalid(name, text, "a number"));
        self.text(name).map(number).transpose()
    }

    /// The value of `name` as a finite number.
    pub fn finite(&self, name: &str) -> Result<Option<f32>, Error> {
        match self.number::<f32>(name)? {
            Some(number) if !number.is_finite() => Err(invalid(name, &number.to_string(), "finite")),
            number => Ok(number),
        }
    }

    /// The process that started this one as its child, when that is a launcher of this project.
    pub fn launcher_pid(&self) -> Result<Option<i32>, Error> {
        self.number(LAUNCHER_PID)
    }

    /// The value of `name` as a switch: `1` or `true`, `0` or `false`, in any case.
    pub fn switch(&self, name: &str) -> Result<Option<bool>, Error> {
        let switch = |text: &str| match text.to_lowercase().as_str() {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(invalid(name, text, "one of 1, true, 0, false")),
        };
        self.text(name).map(switch).transpose()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

fn invalid(name: &str, value: &str, wanted: &str) -> Error {
    Error::ArgumentValidation(format!("environment variable {name} must be {wanted}. Given: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_take_four_words_and_refuse_others() {
        let environment =
            Environment::from([("A", "1"), ("B", "True"), ("C", "0"), ("D", "FALSE"), ("E", "yes")]);
        assert_eq!(environment.switch("A"), Ok(Some(true)));
        assert_eq!(environment.switch("B"), Ok(Some(true)));
        assert_eq!(environment.switch("C"), Ok(Some(false)));
        assert_eq!(environment.switch("D"), Ok(Some(false)));
        assert_eq!(environment.switch("F"), Ok(None));
        let refused = environment.switch("E").unwrap_err().to_string();
        assert_eq!(
            refused,
            "Invalid argument: environment variable E must be one of 1, true, 0, false. Given: yes"
        );
    }

    #[test]
    fn an_empty_variable_does_not_hide_the_next_name() {
        let environment = Environment::from([("HF_TOKEN", ""), ("HF_API_TOKEN", "x")]);
        assert_eq!(environment.first(&["HF_TOKEN", "HF_API_TOKEN"]), Some("x"));
    }
}
