//! Command lines and what they print, as `tests/cases/*.md` shows them. To add one: write the command, run the tests
//! with `TRYCMD=overwrite`, and read what was written as a user would.

#[test]
fn commands_print_what_the_cases_show() {
    trycmd::TestCases::new().case("tests/cases/*.md").case("README.md").run();
}
