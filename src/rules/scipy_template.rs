//! Python source in the state of scipy's distributions. `rv_generic.__setstate__` runs whatever stands there, so only the text that scipy
//! itself makes is quiet. Defined by `parse_arg_template` in `scipy/stats/_distn_infrastructure.py`.

/// The attribute that has it.
pub(super) const KEY: &str = "_parse_arg_template";
/// What is said of another one.
pub(super) const HOW: &str = "Python source that scipy's distributions run";

/// Parameters of place and size, as they are declared and as they are handed on: of continuous and of discrete distributions.
const PLACES: &[(&str, &str)] = &[("loc=0, scale=1", "loc, scale"), ("loc=0", "loc, 1")];

/// Whether the source is what scipy makes of the names of some parameters.
pub(super) fn is_scipys_own(source: &str) -> bool {
    let names = source.strip_prefix("\ndef _parse_args(self, ").and_then(|rest| rest.split_once(" loc=0"));
    let Some((names, _)) = names.filter(|(names, _)| names.chars().all(|c| c.is_ascii_alphanumeric() || "_, ".contains(c))) else {
        return false;
    };
    PLACES.iter().any(|(declared, handed_on)| source == of(names, declared, handed_on))
}

fn of(names: &str, declared: &str, handed_on: &str) -> String {
    format!(
        "
def _parse_args(self, {names} {declared}):
    return ({names}), {handed_on}

def _parse_args_rvs(self, {names} {declared}, size=None):
    return self._argcheck_rvs({names} {handed_on}, size=size)

def _parse_args_stats(self, {names} {declared}, moments='mv'):
    return ({names}), {handed_on}, moments
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_scipy_makes_is_its_own() {
        for names in ["", "a, ", "dfn, dfd, nc, "] {
            for (declared, handed_on) in PLACES {
                assert!(is_scipys_own(&of(names, declared, handed_on)), "{names}");
            }
        }
        let honest = of("a, ", PLACES[0].0, PLACES[0].1);
        for odd in ["", "import os", &honest[1..], &format!("{honest}import os\n"), &honest.replace("scale=1", "scale=print()")] {
            assert!(!is_scipys_own(odd), "{odd}");
        }
        for names in ["a=print(), ", "a):\n  pass\nimport os\ndef f(", "a: print(), "] {
            assert!(!is_scipys_own(&of(names, PLACES[0].0, PLACES[0].1)), "{names}");
        }
    }
}
