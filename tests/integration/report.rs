//! The report of a store: valid by its schema, one of its parts, and a page.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Run, Scratch, depickle, json, testdata};

/// A store of real checkpoints, broken and hostile ones, and other files, some of them named to break out of a page.
fn store(scratch: &Scratch) -> PathBuf {
    let root = scratch.path("store");
    let copies = [
        ("torch-zip/2.15.0/training.pt", "a/pytorch_model.bin"),
        ("torch-zip/2.15.0/quantized.pt", "a/quantized.pt"),
        ("save-file/many_small.pt", "a/many.pt"),
        ("broken/zip_crc.pt", "b/damaged.pt"),
        ("broken/no_tensors.pt", "b/nothing.pt"),
        ("hostile/os_system.pkl", "b/hostile.pkl"),
        ("bundles/os_system.tar", "b/partly.tar"),
        ("bundles/two.tar", "b/two.tar"),
        #[cfg(unix)]
        ("save-file/tied_several.pt", "c/<img src=x onerror=alert(1)>\u{202e}.pt"),
    ];
    for (from, to) in copies {
        let to = root.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("folders");
        fs::copy(testdata().join(from), to).expect("a copy");
    }
    fs::write(root.join("a/config.json"), "{}").expect("a file");
    root
}

fn run(command: &[&str], paths: &[&Path], args: &[&str]) -> Run {
    let paths = paths.iter().map(|path| path.to_str().expect("UTF-8"));
    depickle(command.iter().copied().chain(paths).chain(args.iter().copied()))
}

fn convert(store: &Path, out: &Path, args: &[&str]) -> Run {
    run(&["convert", "--quiet"], &[store, Path::new("-o"), out], args)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a text")
}

#[test]
fn every_report_is_valid_by_the_schema() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json");
    let schema = jsonschema::validator_for(&json(&schema)).expect("a valid schema");
    let scratch = Scratch::new();
    let store = store(&scratch);
    for (i, args) in [&[][..], &["--copy-rest"], &["--shard", "2/3"], &["--root", ".", "--limit", "depth=99"]].into_iter().enumerate() {
        let out = scratch.path(&format!("out{i}"));
        let run = convert(&store, &out, args);
        assert!([0, 3].contains(&run.code), "{}", run.stderr);
        let name = if args.contains(&"--shard") { "depickle-report.2-of-3.json" } else { "depickle-report.json" };
        let errors: Vec<String> = schema.iter_errors(&json(&out.join(name))).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{args:?}: {errors:?}");
    }
}

#[test]
fn the_reports_of_parts_become_that_of_the_whole_byte_for_byte() {
    let scratch = Scratch::new();
    let (store, whole, parts) = (store(&scratch), scratch.path("whole"), scratch.path("parts"));
    convert(&store, &whole, &[]);
    for part in ["1/3", "2/3", "3/3"] {
        convert(&store, &parts, &["--shard", part]);
    }
    let part = |i: u32| parts.join(format!("depickle-report.{i}-of-3.json"));
    let (merged, page) = (parts.join("depickle-report.json"), scratch.path("pages/page.html"));
    let missing = run(&["report", "merge"], &[&part(3), &part(1)], &["-o", merged.to_str().expect("UTF-8")]);
    assert_eq!((missing.code, merged.exists()), (2, false));
    assert!(missing.stderr.contains("of 3 parts, 1 is missing: 2"), "{}", missing.stderr);

    let args = ["-o", merged.to_str().expect("UTF-8"), "--html", page.to_str().expect("UTF-8")];
    let done = run(&["report", "merge"], &[&part(3), &part(1), &part(2)], &args);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(text(&merged), text(&whole.join("depickle-report.json")));
    assert!(text(&page).contains("id=\"tensors-"), "the manifests were found");

    // Nothing is left to do for the store as a whole.
    let again = convert(&store, &parts, &["--json"]);
    assert!(again.stdout.starts_with("{\"event\":\"start\",\"files\":0,"), "{}", again.stdout);
    let twice = run(&["report", "merge"], &[&merged, &part(1)], &["-o", scratch.path("x.json").to_str().expect("UTF-8")]);
    assert!(twice.code == 2 && twice.stderr.contains("is no part of a store"), "{}", twice.stderr);
    let itself = run(&["report", "merge"], &[&part(1)], &["--partial", "-o", part(1).to_str().expect("UTF-8")]);
    assert!(itself.code == 2 && itself.stderr.contains("is also one of the parts"), "{}", itself.stderr);
}

#[test]
fn what_is_no_report_is_said() {
    let scratch = Scratch::new();
    let out = scratch.path("out.json");
    let part = "{\"report_version\": 1, \"tool\": {\"name\": \"depickle\", \"version\": \"0\"}, \"store\": \"s\", \"options\": {}, ";
    let cases = [
        ("not JSON".to_owned(), "is no report of a store"),
        ("{}".to_owned(), "is no report of a store: missing field `report_version`"),
        ("{\"report_version\": 99}".to_owned(), "is a report of version 99, and this program reads version 1"),
        (format!("{part}\"inputs\": []}}"), "is no report of a store: missing field `totals`"),
        (
            format!(
                "{part}\"totals\": {{\"inputs\":1,\"converted\":1,\"copied\":0,\"skipped\":0,\"refused\":0,\"failed\":0,\"outputs\":0,\
                 \"tensors\":0,\"input_bytes\":0,\"converted_bytes\":0,\"output_bytes\":0}}, \"inputs\": []}}"
            ),
            "contradicts itself",
        ),
    ];
    for (content, message) in cases {
        let file = scratch.write("part.json", content.as_bytes());
        for command in [&["report", "merge"][..], &["report", "html"]] {
            let run = run(command, &[&file, Path::new("-o"), &out], &[]);
            assert!(run.code == 2 && run.stderr.contains(message) && !out.exists(), "{}", run.stderr);
        }
    }
    let gone = run(&["report", "html"], &[&scratch.path("gone"), Path::new("-o"), &out], &[]);
    assert!(gone.code == 1 && gone.stderr.contains("no such file"), "{}", gone.stderr);
}

/// The content of a data element of a page.
fn data(page: &str, id: &str) -> Value {
    let start = format!("<script type=\"application/json\" id=\"{id}\">");
    let text = page.split_once(&start).and_then(|(_, rest)| rest.split_once("</script>")).expect("the element").0;
    assert!(!text.contains(['<', '>', '&', '\u{202e}']));
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_page_shows_the_report_and_the_tensors_of_the_manifests() {
    let scratch = Scratch::new();
    let (store, out, page) = (store(&scratch), scratch.path("out"), scratch.path("pages/report.html"));
    let html = ["--html", page.to_str().expect("UTF-8")];
    let first = convert(&store, &out, &html);
    assert_eq!(first.code, 3, "{}", first.stderr);
    let first = text(&page);
    let report = json(&out.join("depickle-report.json"));
    assert_eq!(data(&first, "report")["report"]["totals"], report["totals"]);
    let rows = report["inputs"].as_array().expect("rows");
    let many = rows.iter().position(|row| row["path"] == "a/many.pt").expect("a row");
    let tensors = data(&first, &format!("tensors-{many}-0"));
    let manifest = json(&out.join("a/many.safetensors.manifest.json"));
    for (shown, recorded) in tensors["tensors"].as_array().expect("tensors").iter().zip(manifest["tensors"].as_array().expect("tensors")) {
        let size = |i: usize| recorded["data_offsets"][i].as_u64().expect("an offset");
        let fields = [&recorded["name"], &recorded["dtype"], &recorded["shape"], &Value::from(size(1) - size(0)), &recorded["sha256"]];
        assert!(fields.into_iter().eq(shown.as_array().expect("fields")), "{shown} {recorded}");
    }
    assert_eq!(tensors["tensors"].as_array().map(Vec::len), Some(300));
    #[cfg(unix)]
    assert!(!first.contains("<img") && first.contains("\\u003cimg src=x onerror=alert(1)\\u003e\\\\u{202e}.pt"));

    // Nothing is left to do, and a page of this program is replaced: by the same one.
    fs::write(&page, first.replace("Migration", "Changed")).expect("a changed page");
    convert(&store, &out, &html);
    assert!(text(&page) == first);
    // A manifest that is gone or of another file is said, and the others are shown.
    fs::remove_file(out.join("a/many.safetensors.manifest.json")).expect("a manifest");
    fs::copy(out.join("a/model.safetensors.manifest.json"), out.join("a/quantized.safetensors.manifest.json")).expect("a manifest");
    let alone = run(&["report", "html"], &[&out.join("depickle-report.json"), Path::new("-o"), &page], &[]);
    assert_eq!(alone.code, 0, "{}", alone.stderr);
    assert_eq!(data(&text(&page), "listing")["unreadable"], 2);
}

#[test]
fn a_page_replaces_no_file_of_somebody_else_unless_it_is_told_so() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    let page = scratch.write("index.html", b"<!doctype html>\n<title>mine</title>");
    let html = ["--html", page.to_str().expect("UTF-8")];
    let refused = convert(&store, &out, &html);
    assert!(refused.code == 2 && refused.stderr.contains("already exists") && !out.exists(), "{}", refused.stderr);
    assert_eq!(convert(&store, &out, &[&html[..], &["--force"]].concat()).code, 3);
    assert!(text(&page).contains("depickle-report"));
    assert_eq!(convert(&store, &out, &[&html[..], &["--dry-run"]].concat()).code, 2);
    let one = run(&["convert"], &[&store.join("a/many.pt")], &html);
    assert!(one.code == 2 && one.stderr.contains("--html is for folders"), "{}", one.stderr);
}

/// The script of an array of Slurm jobs, as Slurm starts it: the number of the task and what `submit.sh` exports.
#[test]
#[cfg(unix)]
fn the_slurm_script_converts_its_part() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    let program = Path::new(env!("CARGO_BIN_EXE_depickle")).parent().expect("its folder").display();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scaling/convert.sbatch");
    for task in ["1", "2"] {
        let mut command = std::process::Command::new("bash");
        command.arg(&script).env("PATH", format!("{program}:{}", std::env::var("PATH").expect("a PATH")));
        let done =
            command.envs([("SLURM_ARRAY_TASK_ID", task), ("PARTS", "2")]).env("STORE", &store).env("OUT", &out).output().expect("bash");
        assert!([Some(0), Some(1), Some(3)].contains(&done.status.code()), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let merged = run(&["report", "merge"], &[&out, Path::new("-o"), &out.join("depickle-report.json")], &[]);
    assert_eq!(merged.code, 0, "{}", merged.stderr);
    assert!(text(&out.join("depickle-report.json")).contains("a/pytorch_model.bin"));
}

#[test]
fn the_jobs_for_kubernetes_say_one_number_of_parts() {
    let job = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scaling/job.yaml"));
    let number = |before: &str| {
        let rest = job.split_once(before).expect("the field").1;
        rest.chars().skip_while(|c| *c == ' ').take_while(char::is_ascii_digit).collect::<String>()
    };
    let parts = number("completions:");
    assert_eq!([number("parallelism:"), number("maxFailedIndexes:"), number("env/")], [&*parts, &*parts, &*parts]);
}
