//! Folders of checkpoints: what is found, where it goes, what a second run does, and that none depends on how often a run was stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Run, Scratch, depickle, json, read_tensors, testdata};

/// A store of real checkpoints, broken and hostile ones, and other files.
fn store(scratch: &Scratch) -> PathBuf {
    let root = scratch.path("store");
    for (from, to) in [
        ("torch-zip/2.15.0/training.pt", "models/a/pytorch_model.bin"),
        ("torch-legacy/1.0.0/mixed.pt", "models/b/mixed.pt"),
        ("torch-zip/2.15.0/training.pt", "models/b/mixed.pth"),
        ("broken/zip_crc.pt", "models/c/damaged.pt"),
        ("hostile/os_system.pkl", "models/c/hostile.pkl"),
        ("bundles/two.tar", "bundles/two.tar"),
        ("bundles/two.tar", "bundles/two.tgz"),
    ] {
        let to = root.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("folders");
        fs::copy(testdata().join(from), to).expect("a copy");
    }
    fs::write(root.join("models/a/config.json"), "{\"layers\": 2}").expect("a file");
    fs::write(root.join("models/a/README"), "I am a text, and start like a pickle of protocol 0\n").expect("a file");
    root
}

fn convert(store: &Path, out: &Path, args: &[&str]) -> Run {
    let fixed = ["convert", store.to_str().expect("UTF-8"), "-o", out.to_str().expect("UTF-8")];
    depickle(fixed.iter().chain(args))
}

/// Every file below a folder with its bytes, and every link with its target.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut pending) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below it").to_string_lossy().into_owned();
            if path.is_symlink() {
                found.insert(name, fs::read_link(&path).expect("a link").to_string_lossy().as_bytes().to_vec());
            } else if path.is_dir() {
                found.insert(name + "/", Vec::new());
                pending.push(path);
            } else {
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[track_caller]
fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    let names: Vec<&String> = found.keys().chain(expected.keys()).filter(|name| found.get(*name) != expected.get(*name)).collect();
    assert!(names.is_empty(), "these differ: {names:?}");
}

fn states(out: &Path) -> BTreeMap<String, String> {
    let report = json(&out.join("depickle-report.json"));
    let rows = report["inputs"].as_array().expect("rows");
    rows.iter().map(|row| (row["path"].as_str().expect("a path").to_owned(), row["state"].as_str().expect("a state").to_owned())).collect()
}

fn outputs(out: &Path) -> Vec<String> {
    tree(out).into_keys().filter(|name| name.ends_with(".safetensors")).collect()
}

#[test]
fn a_store_becomes_a_store_and_the_second_run_does_nothing() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    let first = convert(&store, &out, &[]);
    assert_eq!(first.code, 3, "{}", first.stderr);
    let expected = [
        ("bundles/two.tar", "converted"),
        ("bundles/two.tgz", "converted"),
        ("models/a/README", "skipped"),
        ("models/a/config.json", "skipped"),
        ("models/a/pytorch_model.bin", "converted"),
        ("models/b/mixed.pt", "converted"),
        ("models/b/mixed.pth", "converted"),
        ("models/c/damaged.pt", "failed"),
        ("models/c/hostile.pkl", "refused"),
    ];
    assert_eq!(states(&out), expected.iter().map(|(path, state)| ((*path).to_owned(), (*state).to_owned())).collect());
    let named = outputs(&out);
    for name in ["models/a/model.safetensors", "models/b/mixed.pt.safetensors", "models/b/mixed.pth.safetensors"] {
        assert!(named.iter().any(|output| output == name), "{name} is not in {named:?}");
        assert!(!read_tensors(&out.join(name)).is_empty());
    }
    assert!(named.iter().any(|name| name.starts_with("bundles/two.tar.converted/")), "{named:?}");
    assert!(named.iter().any(|name| name.starts_with("bundles/two.tgz.converted/")), "{named:?}");
    assert_eq!(depickle(["verify", out.to_str().expect("UTF-8")]).code, 0);

    let times = |name: &String| fs::metadata(out.join(name)).and_then(|metadata| metadata.modified()).expect("a time");
    let before: Vec<_> = tree(&out).into_iter().map(|(name, bytes)| (times(&name), name, bytes)).collect();
    let second = convert(&store, &out, &[]);
    assert_eq!(second.code, 3);
    assert!(second.stderr.contains("9 done before"), "{}", second.stderr);
    assert!(!second.stderr.contains("converted models"), "{}", second.stderr);
    let after: Vec<_> = tree(&out).into_iter().map(|(name, bytes)| (times(&name), name, bytes)).collect();
    assert!(before == after, "a run that had nothing to do wrote something");
}

#[test]
fn a_run_that_was_killed_is_finished_by_the_next_one_to_the_byte() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    for folder in ["torch-zip/2.8.0", "torch-zip/2.15.0", "npz/numpy-2.4.6-py3.11", "training/detectron-py3.12"] {
        let to = store.join(folder.replace('/', "-"));
        fs::create_dir_all(&to).expect("a folder");
        let files = fs::read_dir(testdata().join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
        files.filter(|path| path.is_file()).for_each(|path| {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
        });
    }
    convert(&store, &scratch.path("whole"), &["--copy-rest"]);
    let whole = tree(&scratch.path("whole"));
    assert!(whole.len() > 60, "{}", whole.len());
    let out = scratch.path("part");
    for n in 0..12u64 {
        let mut run = Command::new(env!("CARGO_BIN_EXE_depickle"));
        run.arg("convert").arg(&store).arg("-o").arg(&out).args(["--copy-rest", "-q"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = run.spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(5 + n * 7));
        // It may be done by now.
        let _ = run.kill();
        run.wait().expect("it ends");
    }
    assert_eq!(convert(&store, &out, &["--copy-rest", "-q"]).code, 3);
    assert_same(&tree(&out), &whole);
}

#[test]
fn what_a_killed_run_may_leave_is_replaced() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    convert(&store, &out, &[]);
    let whole = tree(&out);
    let rows = json(&out.join("depickle-report.json"));
    // The journal has some files, one of which lost its output, and ends in the middle of a line.
    let head = r#"{"report_version":1,"tool":"0.1.0","options":{}}"#;
    let line = |index: usize| rows["inputs"][index].to_string();
    fs::write(out.join(".depickle-journal.jsonl"), format!("{head}\n{}\n{}\n{}", line(4), line(5), &line(0)[..40])).expect("a journal");
    fs::remove_file(out.join("depickle-report.json")).expect("the report");
    fs::remove_file(out.join("models/b/mixed.pt.safetensors")).expect("an output");
    fs::write(out.join("models/b/.depickle-AAAAAA.tmp"), b"half").expect("a file");
    let again = convert(&store, &out, &[]);
    assert!(again.stderr.contains("1 done before"), "{}", again.stderr);
    assert_same(&tree(&out), &whole);
}

#[test]
fn a_run_that_was_killed_before_its_report_is_ended() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    convert(&store, &out, &[]);
    let whole = tree(&out);
    let rows = json(&out.join("depickle-report.json"))["inputs"].as_array().expect("rows").clone();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let head = r#"{"report_version":1,"tool":"0.1.0","options":{}}"#;
    fs::write(out.join(".depickle-journal.jsonl"), format!("{head}\n{lines}")).expect("a journal");
    fs::remove_file(out.join("depickle-report.json")).expect("the report");
    fs::create_dir_all(out.join("models/c")).expect("the folder of an output that never came");
    assert!(convert(&store, &out, &[]).stderr.contains("9 done before"));
    assert_same(&tree(&out), &whole);
}

#[test]
fn what_changed_is_converted_again_and_what_is_somebody_elses_is_kept() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    fs::create_dir_all(out.join("models/a")).expect("a folder");
    fs::write(out.join("models/a/model.safetensors"), b"precious").expect("a file");
    convert(&store, &out, &[]);
    assert_eq!(states(&out)["models/a/pytorch_model.bin"], "failed");
    assert_eq!(fs::read(out.join("models/a/model.safetensors")).expect("the file"), b"precious");
    convert(&store, &out, &["--force"]);
    assert_eq!(states(&out)["models/a/pytorch_model.bin"], "converted");

    // Another checkpoint of another size.
    fs::copy(testdata().join("torch-zip/2.15.0/training.pt"), store.join("models/b/mixed.pt")).expect("a copy");
    fs::remove_file(store.join("models/c/damaged.pt")).expect("a file");
    let run = convert(&store, &out, &[]);
    assert!(run.stderr.contains("converted models/b/mixed.pt -> ") && run.stderr.contains("7 done before"), "{}", run.stderr);
    assert_eq!(read_tensors(&out.join("models/b/mixed.pt.safetensors")).len(), 8);
    assert!(!states(&out).contains_key("models/c/damaged.pt"));

    // Other settings make other outputs.
    let run = convert(&store, &out, &["--root", "."]);
    assert!(!run.stderr.contains("done before"), "{}", run.stderr);
    assert_eq!(read_tensors(&out.join("models/b/mixed.pt.safetensors")).len(), 23);
}

#[test]
fn rechecking_finds_an_output_that_was_changed() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    convert(&store, &out, &["--copy-rest"]);
    let whole = tree(&out);
    let output = out.join("models/a/model.safetensors");
    let mut bytes = fs::read(&output).expect("an output");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&output, bytes).expect("a file");
    assert!(convert(&store, &out, &["--copy-rest"]).stderr.contains("9 done before"));
    assert!(tree(&out) != whole);
    let times = |name: &str| fs::metadata(out.join(name)).and_then(|metadata| metadata.modified()).expect("a time");
    let untouched = ["models/a/config.json", "models/b/mixed.pt.safetensors"];
    let before = untouched.map(times);
    let run = convert(&store, &out, &["--recheck", "--copy-rest"]);
    assert_eq!(untouched.map(times), before, "what is as recorded was written again");
    assert!(run.stderr.contains("converted models/a/pytorch_model.bin"), "{}", run.stderr);
    assert!(!run.stderr.contains("converted models/b"), "{}", run.stderr);
    assert_same(&tree(&out), &whole);
}

#[test]
fn the_rest_comes_along_when_asked_but_nothing_that_is_refused() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    fs::write(store.join("models/a/model.safetensors"), b"the author's own").expect("a file");
    convert(&store, &out, &["--copy-rest"]);
    let tree = tree(&out);
    assert_eq!(tree["models/a/config.json"], b"{\"layers\": 2}");
    assert!(tree.contains_key("models/a/README"));
    // What comes along keeps its name.
    assert_eq!(tree["models/a/model.safetensors"], b"the author's own");
    assert!(tree.contains_key("models/a/pytorch_model.bin.safetensors"));
    let pickles = ["pkl", "pt", "pth", "bin", "tar", "tgz"];
    assert!(!tree.keys().any(|name| pickles.iter().any(|ending| name.ends_with(&format!(".{ending}")))), "{:?}", tree.keys());
}

#[test]
#[cfg(unix)]
fn one_blob_under_several_names_is_converted_once() {
    let scratch = Scratch::new();
    let cache = scratch.path("store/models--x--y");
    fs::create_dir_all(cache.join("blobs")).expect("a folder");
    fs::copy(testdata().join("torch-zip/2.15.0/training.pt"), cache.join("blobs/0123abcd")).expect("a copy");
    fs::write(cache.join("blobs/unused"), b"unused").expect("a file");
    for revision in ["r1", "r2"] {
        fs::create_dir_all(cache.join("snapshots").join(revision)).expect("a folder");
        let link = cache.join("snapshots").join(revision).join("pytorch_model.bin");
        std::os::unix::fs::symlink("../../blobs/0123abcd", link).expect("a link");
    }
    std::os::unix::fs::symlink("r1", cache.join("snapshots/latest")).expect("a link to a folder");
    let outputs = ["r1", "r2"].map(|revision| format!("models--x--y/snapshots/{revision}/model.safetensors"));
    for link in ["hard", "symbolic", "copy"] {
        let out = scratch.path(link);
        let run = convert(&scratch.path("store"), &out, &["--link", link, "--json"]);
        assert_eq!(run.stdout.matches("\"event\":\"file\"").count(), 3, "{}", run.stdout);
        assert_eq!(run.code, 0, "{}", run.stdout);
        let [first, second] = outputs.clone().map(|output| out.join(output));
        assert_eq!(fs::read(&first).expect("an output"), fs::read(&second).expect("an output"));
        assert_eq!(second.is_symlink(), link == "symbolic");
        let number = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::symlink_metadata(path).expect("a file"));
        assert_eq!(number(&first) == number(&second), link == "hard");
        for output in [&first, &second] {
            let verified = depickle(["verify".as_ref(), output.as_os_str()]);
            assert_eq!(verified.code, 0, "{}", verified.stderr);
            assert!(verified.stderr.contains("the source too"), "{}", verified.stderr);
        }
        assert!(!out.join("models--x--y/blobs").exists());
        // A name that is lost is given again.
        let whole = tree(&out);
        fs::remove_file(&second).expect("an output");
        convert(&scratch.path("store"), &out, &["--link", link]);
        assert_same(&tree(&out), &whole);
    }
}

#[test]
fn outputs_beside_the_originals_are_no_inputs_of_the_next_run() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let before = tree(&store);
    let root = store.to_str().expect("UTF-8");
    assert_eq!(depickle(["convert", root]).code, 2, "neither -o nor --in-place");
    let first = depickle(["convert", root, "--in-place"]);
    assert_eq!(first.code, 3, "{}", first.stderr);
    assert!(store.join("models/a/model.safetensors").exists());
    let after = tree(&store);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)), "an original was changed");
    let second = depickle(["convert", root, "--in-place"]);
    assert!(second.stderr.contains("9 done before"), "{}", second.stderr);
    assert_same(&tree(&store), &after);
}

#[test]
fn parts_of_a_store_make_the_whole() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    convert(&store, &scratch.path("whole"), &[]);
    let out = scratch.path("parts");
    for part in ["1/3", "2/3"] {
        convert(&store, &out, &["--shard", part]);
    }
    let mut last = Command::new(env!("CARGO_BIN_EXE_depickle"));
    last.arg("convert").arg(&store).arg("-o").arg(&out).args(["--shard", "env/3"]).env("JOB_COMPLETION_INDEX", "2");
    last.env_remove("SLURM_ARRAY_TASK_ID").output().expect("the program starts");
    let without_reports = |root: &Path| tree(root).into_iter().filter(|(name, _)| !name.starts_with("depickle-report")).collect::<Vec<_>>();
    assert!(without_reports(&out) == without_reports(&scratch.path("whole")));
    let reports = tree(&out).into_keys().filter(|name| name.starts_with("depickle-report")).collect::<Vec<_>>();
    assert_eq!(reports, ["depickle-report.1-of-3.json", "depickle-report.2-of-3.json", "depickle-report.3-of-3.json"]);
}

#[test]
fn files_are_chosen_by_lists_and_globs() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let list = scratch.write("list", b"models/a/pytorch_model.bin\n./models/c/hostile.pkl\n");
    let list = list.to_str().expect("UTF-8");
    let chosen = |name: &str, args: &[&str]| {
        let out = scratch.path(name);
        let run = convert(&store, &out, args);
        (run.code, if out.exists() { states(&out).into_keys().collect::<Vec<_>>() } else { Vec::new() })
    };
    assert_eq!(chosen("list-of", &["--files-from", list]), (3, vec!["models/a/pytorch_model.bin".into(), "models/c/hostile.pkl".into()]));
    assert_eq!(
        chosen("globs", &["--include-files", "models/*", "--exclude-files", "*/c/*", "--exclude-files", "*.pt*"]).1,
        ["models/a/README", "models/a/config.json", "models/a/pytorch_model.bin"]
    );
    let outside = scratch.write("outside", b"../list\n");
    assert_eq!(chosen("outside-of", &["--files-from", outside.to_str().expect("UTF-8")]), (2, vec![]));
    let missing = scratch.write("missing", b"models/nothing.pt\n");
    assert_eq!(chosen("missing-in", &["--files-from", missing.to_str().expect("UTF-8")]), (1, vec!["models/nothing.pt".into()]));
}

#[test]
fn a_choice_of_files_leaves_what_is_known_of_the_others() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    convert(&store, &out, &[]);
    let whole = tree(&out);
    fs::remove_file(out.join("models/b/mixed.pt.safetensors")).expect("an output");
    let list = scratch.write("list", b"models/b/mixed.pt\nmodels/b/mixed.pth\n");
    let run = convert(&store, &out, &["--files-from", list.to_str().expect("UTF-8")]);
    assert!(run.stderr.contains("converted models/b/mixed.pt -> "), "{}", run.stderr);
    assert_same(&tree(&out), &whole);
    convert(&store, &out, &["--exclude-files", "models/*"]);
    assert_same(&tree(&out), &whole);
}

#[test]
fn a_dry_run_of_a_store_says_all_and_writes_nothing() {
    let scratch = Scratch::new();
    let (store, out) = (store(&scratch), scratch.path("out"));
    let run = convert(&store, &out, &["--dry-run", "--copy-rest"]);
    assert_eq!(run.code, 3);
    assert!(!out.exists());
    for said in [
        "would convert models/a/pytorch_model.bin -> models/a/model.safetensors",
        "would copy models/a/config.json",
        "refused models/c/hostile.pkl",
    ] {
        assert!(run.stdout.contains(said), "{}", run.stdout);
    }
    assert!(run.stderr.contains("8 planned, 1 refused"), "{}", run.stderr);
}

#[test]
#[cfg(unix)]
fn sets_beside_their_originals_are_done_once() {
    let scratch = Scratch::new();
    let store = store_of_sets(&scratch);
    fs::remove_dir_all(store.join("cut")).expect("the folder");
    let root = store.to_str().expect("UTF-8");
    for args in [&["convert", root, "--in-place"][..], &["convert", root, "--in-place", "--max-shard-size", "3KB", "--force"]] {
        assert_eq!(depickle(args).code, 0);
        let after = tree(&store);
        assert!(after.contains_key("whole/model.safetensors.index.json"));
        let second = depickle(args);
        assert!(second.stderr.contains(" done before"), "{}", second.stderr);
        assert_same(&tree(&store), &after);
    }
}

/// A store with a set of shards, whole and without one of its files, and a set in two snapshots of a cache.
#[cfg(unix)]
fn store_of_sets(scratch: &Scratch) -> PathBuf {
    let root = scratch.path("sets");
    let from = testdata().join("index-sets/transformers-4.30.2");
    let files: Vec<PathBuf> = fs::read_dir(&from).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    let blobs = root.join("cache/blobs");
    fs::create_dir_all(&blobs).expect("a folder");
    for folder in ["whole", "cut", "cache/snapshots/r1", "cache/snapshots/r2"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    for path in files.iter().filter(|path| path.file_name().is_some_and(|name| name != "expect.json")) {
        let name = path.file_name().expect("a name");
        fs::copy(path, root.join("whole").join(name)).expect("a copy");
        if name != "pytorch_model-00002-of-00004.bin" {
            fs::copy(path, root.join("cut").join(name)).expect("a copy");
        }
        fs::copy(path, blobs.join(name)).expect("a copy");
        for revision in ["r1", "r2"] {
            let link = root.join("cache/snapshots").join(revision).join(name);
            std::os::unix::fs::symlink(Path::new("../../blobs").join(name), link).expect("a link");
        }
    }
    root
}

#[test]
#[cfg(unix)]
fn sets_get_a_new_index_when_their_files_are_done() {
    let scratch = Scratch::new();
    let (store, out) = (store_of_sets(&scratch), scratch.path("out"));
    let first = convert(&store, &out, &[]);
    assert_eq!(first.code, 1, "{}", first.stderr);
    let states = states(&out);
    assert_eq!(states["whole/pytorch_model.bin.index.json"], "converted");
    assert_eq!(states["cut/pytorch_model.bin.index.json"], "failed");
    assert!(first.stderr.contains("pytorch_model-00002-of-00004.bin"), "{}", first.stderr);
    assert!(!out.join("cut/model.safetensors.index.json").exists());
    for folder in ["whole", "cache/snapshots/r1", "cache/snapshots/r2"] {
        let index = out.join(folder).join("model.safetensors.index.json");
        let verified = depickle(["verify".as_ref(), index.as_os_str()]);
        assert_eq!(verified.code, 0, "{folder}: {}", verified.stderr);
    }
    let whole = tree(&out);
    let second = convert(&store, &out, &[]);
    // That a set is not complete is looked at again.
    assert!(second.stderr.contains(&format!("{} done before", states.len() - 1)), "{}", second.stderr);
    assert_same(&tree(&out), &whole);

    // A file that is lost is made again, and what was never there may come.
    fs::remove_file(out.join("whole/model-00001-of-00004.safetensors")).expect("an output");
    fs::copy(store.join("whole/pytorch_model-00002-of-00004.bin"), store.join("cut/pytorch_model-00002-of-00004.bin")).expect("a copy");
    let third = convert(&store, &out, &[]);
    assert_eq!(third.code, 0, "{}", third.stderr);
    assert!(whole.iter().all(|(name, bytes)| name == "depickle-report.json" || tree(&out).get(name) == Some(bytes)));
    assert!(depickle(["verify".as_ref(), out.join("cut/model.safetensors.index.json").as_os_str()]).code == 0);
}

#[test]
#[cfg(unix)]
fn sets_are_split_again_as_one_by_themselves() {
    let scratch = Scratch::new();
    let (store, out) = (store_of_sets(&scratch), scratch.path("out"));
    let run = convert(&store, &out, &["--max-shard-size", "3KB"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let alone = scratch.path("alone/model.safetensors");
    let index = store.join("whole/pytorch_model.bin.index.json");
    let args = ["convert".into(), index, "-o".into(), alone.clone(), "--max-shard-size".into(), "3KB".into()];
    assert_eq!(depickle(args).code, 0);
    let expected: BTreeMap<String, Vec<u8>> =
        tree(alone.parent().expect("a folder")).into_iter().filter(|(name, _)| !name.ends_with(".manifest.json")).collect();
    assert!(expected.len() > 3, "{:?}", expected.keys());
    for folder in ["whole", "cache/snapshots/r1", "cache/snapshots/r2"] {
        let found = tree(&out.join(folder)).into_iter().filter(|(name, _)| !name.ends_with(".manifest.json")).collect();
        assert_same(&found, &expected);
        let verified = depickle(["verify".as_ref(), out.join(folder).join("model.safetensors.index.json").as_os_str()]);
        assert_eq!(verified.code, 0, "{folder}: {}", verified.stderr);
    }
    // The files of the set are its own, and not inputs beside it.
    assert_eq!(states(&out).len(), 3, "{:?}", states(&out));
    let whole = tree(&out);
    let second = convert(&store, &out, &["--max-shard-size", "3KB"]);
    assert!(second.stderr.contains("3 done before"), "{}", second.stderr);
    assert_same(&tree(&out), &whole);
    // Left by a run that was killed before the index.
    fs::remove_file(out.join("whole/model.safetensors.index.json")).expect("the index");
    fs::remove_file(out.join("depickle-report.json")).expect("the report");
    convert(&store, &out, &["--max-shard-size", "3KB"]);
    assert_same(&tree(&out), &whole);
}

/// A store of a few files of testdata, and of texts.
fn store_of(scratch: &Scratch, files: &[(&str, &str)], texts: &[(&str, &[u8])]) -> PathBuf {
    let root = scratch.path("few");
    let place = |name: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        path
    };
    for (from, to) in files {
        fs::copy(testdata().join(from), place(to)).expect("a copy");
    }
    texts.iter().for_each(|(name, text)| fs::write(place(name), text).expect("a file"));
    root
}

const TRAINING: &str = "torch-zip/2.15.0/training.pt";
const MIXED: &str = "torch-zip/2.15.0/mixed.pt";
const VIEWS: &str = "torch-zip/2.15.0/views.pt";

#[test]
fn no_output_of_a_store_replaces_another_one() {
    for (files, args) in [
        (&[(TRAINING, "a.pt"), (MIXED, "a.pth"), (VIEWS, "a.pt.pth")][..], &["--force"][..]),
        (&[(TRAINING, "model.pt"), (MIXED, "model-00001-of-00002.pt")], &["--force", "--max-shard-size", "100B"]),
        (&[("bundles/two.tar", "m.tar"), (MIXED, "m/x.pt"), (VIEWS, "m.tar.converted/model/encoder/weights.pt")], &["--force"]),
    ] {
        let scratch = Scratch::new();
        let (store, out) = (store_of(&scratch, files, &[]), scratch.path("out"));
        let run = convert(&store, &out, args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let report = json(&out.join("depickle-report.json"));
        let rows = report["inputs"].as_array().expect("rows").iter();
        let mut names: Vec<String> =
            rows.flat_map(|row| row["outputs"].as_array().expect("outputs")).map(|o| o["path"].to_string()).collect();
        let n = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), n, "{files:?}");
        assert_eq!(depickle(["verify".as_ref(), out.as_os_str()]).code, 0, "{files:?}");
    }
}

#[test]
fn files_of_users_are_not_replaced_because_one_beside_them_is_ours() {
    let scratch = Scratch::new();
    let (store, out) = (store_of(&scratch, &[("bundles/two.tar", "m.tar"), (TRAINING, "b.pt")], &[]), scratch.path("out"));
    convert(&store, &out, &[]);
    let theirs = out.join("m/model/encoder/weights.safetensors");
    fs::remove_file(out.join("m/model/encoder/weights.safetensors.manifest.json")).expect("a manifest");
    fs::remove_file(out.join("depickle-report.json")).expect("the report");
    fs::write(&theirs, b"theirs").expect("a file");
    assert_eq!(convert(&store, &out, &[]).code, 2);
    assert_eq!(fs::read(&theirs).expect("their file"), b"theirs");
}

#[test]
fn what_is_copied_keeps_its_name_and_is_looked_at_each_time() {
    let scratch = Scratch::new();
    let (store, out) =
        (store_of(&scratch, &[(TRAINING, "m.pt")], &[("merges.txt", b"ivy\noak\n"), ("config.json", b"{}")]), scratch.path("out"));
    fs::create_dir_all(&out).expect("a folder");
    fs::write(out.join("config.json"), b"somebody's").expect("a file");
    assert_eq!(convert(&store, &out, &["--copy-rest"]).code, 2);
    fs::remove_file(out.join("config.json")).expect("a file");
    assert_eq!(convert(&store, &out, &["--copy-rest"]).code, 0);
    assert_eq!(fs::read(out.join("merges.txt")).expect("a copy"), b"ivy\noak\n");
    assert_eq!(fs::read(out.join("config.json")).expect("a copy"), b"{}");
    // Of the same size and time, but no text any more.
    let payload = b"cos\nsystem\n(S'id'\ntR.";
    fs::write(store.join("notes.txt"), vec![b'-'; payload.len()]).expect("a file");
    assert_eq!(convert(&store, &out, &["--copy-rest"]).code, 0);
    let time = fs::metadata(store.join("notes.txt")).and_then(|metadata| metadata.modified()).expect("a time");
    fs::write(store.join("notes.txt"), payload).expect("a file");
    fs::File::options().write(true).open(store.join("notes.txt")).and_then(|file| file.set_modified(time)).expect("a file");
    assert_eq!(convert(&store, &out, &["--copy-rest", "--recheck"]).code, 3);
    fs::remove_file(out.join("notes.txt")).expect("the copy");
    assert_eq!(convert(&store, &out, &["--copy-rest"]).code, 3);
    assert!(!out.join("notes.txt").exists());
}

#[test]
fn no_payload_comes_along_under_the_name_of_a_text() {
    let payload = "0cposix\nsystem\n(S'id'\ntR.";
    let numbers = ["FNaN", "Finfinity", "F-Inf", "I\u{b}1", "L\u{b}1", "F\u{c}1"];
    let texts: Vec<(String, Vec<u8>)> =
        numbers.iter().enumerate().map(|(i, number)| (format!("notes{i}.txt"), format!("{number}\n{payload}").into_bytes())).collect();
    // An archive behind a text, which the reader of packages opens.
    let mut package = b"{\"a\": 1}\n".to_vec();
    package.extend(fs::read(testdata().join("torch-zip/2.15.0/training.pt")).expect("a file"));
    let mut texts: Vec<(&str, &[u8])> = texts.iter().map(|(name, text)| (name.as_str(), text.as_slice())).collect();
    texts.push(("config.json", &package));
    let scratch = Scratch::new();
    let (store, out) = (store_of(&scratch, &[], &texts), scratch.path("out"));
    let run = convert(&store, &out, &["--copy-rest"]);
    assert_ne!(run.code, 0, "{}", run.stderr);
    assert_eq!(tree(&out).into_keys().collect::<Vec<_>>(), ["depickle-report.json"], "{}", run.stderr);
}

#[test]
#[cfg(unix)]
fn records_are_never_written_through_links_nor_over_other_files() {
    let scratch = Scratch::new();
    let store = store_of(
        &scratch,
        &[(TRAINING, "a.pt"), (MIXED, "b.pt")],
        &[("depickle-report.html", b"x"), ("evil.pt.manifest.json", b"{\n  \"manifest_version\": 1}")],
    );
    fs::copy(testdata().join("hostile/os_system.pkl"), store.join("evil.pt")).expect("a copy");
    let before = fs::read(store.join("b.pt")).expect("a file");
    let root = store.to_str().expect("UTF-8");
    let journal = store.join(".depickle-journal.jsonl");
    std::os::unix::fs::symlink("b.pt", &journal).expect("a link");
    assert_eq!(depickle(["convert", root, "--in-place"]).code, 1);
    fs::remove_file(&journal).expect("the link");
    fs::hard_link(store.join("b.pt"), &journal).expect("a link");
    assert_eq!(depickle(["convert", root, "--in-place"]).code, 1);
    assert_eq!(fs::read(store.join("b.pt")).expect("a file"), before);
    fs::remove_file(&journal).expect("the link");
    for name in [".depickle-journal.jsonl", "depickle-report.json"] {
        fs::write(store.join(name), b"precious").expect("a file");
        assert_eq!(depickle(["convert", root, "--in-place"]).code, 2, "{name}");
        assert_eq!(fs::read(store.join(name)).expect("a file"), b"precious");
        fs::remove_file(store.join(name)).expect("a file");
    }
    // A stray manifest hides nothing, and empty folders stay.
    fs::create_dir_all(store.join("keep/deep")).expect("folders");
    std::os::unix::fs::symlink(".", store.join("self")).expect("a link");
    assert_eq!(depickle(["convert", root, "--in-place"]).code, 3);
    assert_eq!(states(&store)["evil.pt"], "refused");
    assert!(store.join("keep/deep").is_dir());
}

#[test]
#[cfg(unix)]
fn a_link_that_leads_to_another_file_now_is_converted_again() {
    let scratch = Scratch::new();
    let store = store_of(&scratch, &[(TRAINING, "m/blobs/x"), (MIXED, "m/blobs/y")], &[("m/snapshots/r/config.json", b"{}")]);
    let link = store.join("m/snapshots/r/pytorch_model.bin");
    std::os::unix::fs::symlink("../../blobs/x", &link).expect("a link");
    let out = scratch.path("out");
    assert_eq!(convert(&store, &out, &[]).code, 0);
    let before = fs::read(out.join("m/snapshots/r/model.safetensors")).expect("an output");
    fs::remove_file(&link).expect("a link");
    std::os::unix::fs::symlink("../../blobs/y", &link).expect("a link");
    let run = convert(&store, &out, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_ne!(fs::read(out.join("m/snapshots/r/model.safetensors")).expect("an output"), before);
    // What no link leads to is looked at where it is.
    assert_eq!(states(&out)["m/blobs/x"], "converted");
}

#[test]
#[cfg(unix)]
fn a_bundle_that_was_interrupted_is_not_done() {
    let scratch = Scratch::new();
    let members: Vec<(Vec<u8>, Vec<u8>)> =
        (0..150).map(|i| (format!("{i}.pt").into_bytes(), fs::read(testdata().join(TRAINING)).expect("a file"))).collect();
    let members: Vec<(&[u8], &[u8])> = members.iter().map(|(name, data)| (name.as_slice(), data.as_slice())).collect();
    let tar = crate::assemble::tar(&members);
    let store = store_of(&scratch, &[], &[("many.tar", &tar)]);
    for n in 0..6u64 {
        let out = scratch.path(&format!("out{n}"));
        let mut run = Command::new(env!("CARGO_BIN_EXE_depickle"));
        run.arg("convert").arg(&store).arg("-o").arg(&out).arg("-q").stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = run.spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(20 + 30 * n));
        // It may be done by now.
        let _ = Command::new("kill").arg(run.id().to_string()).status();
        run.wait().expect("it ends");
        assert_eq!(convert(&store, &out, &["-q"]).code, 0);
        assert_eq!(outputs(&out).len(), 150);
    }
}
