//! States that code makes something else of: in the archive, in the state itself, in the class of a member of an enum.

use serde_json::Value;

use crate::assemble::{Zip, bytes, call, cat, dict, global, int, pickle, tensor, text, tuple};
use crate::harness::{Scratch, convert, scan};

/// TorchScript of one object of `class`, which has a tensor in its state, and this code.
fn script(class: &str, state: &[u8], code: &str) -> Vec<u8> {
    let (module, name) = class.rsplit_once('.').expect("a module and a class");
    let object = cat(&[&global(module, name), b")\x81", state, b"b"]);
    let path = format!("a/code/{}.py", module.replace('.', "/"));
    Zip::of(&[
        ("a/data.pkl", &pickle(&object)),
        ("a/data/0", b"\x01\x02\x03\x04"),
        ("a/constants.pkl", &pickle(b")")),
        (&path, code.as_bytes()),
        ("a/version", b"3\n"),
    ])
    .file()
}

#[test]
fn a_tensor_that_code_of_the_archive_may_change_is_not_converted() {
    let plain = "class Net(Module):\n  def forward(self: __torch__.Net) -> NoneType:\n    return None\n";
    let remade = "class Other(Module):\n  pass\nclass Net(Module):\n  def __setstate__(self: __torch__.Net,\n    s: Tuple[Tensor, bool]) -> NoneType:\n    self.w = torch.mul((s)[0], 2)\n";
    let (as_dict, as_tuple) = (dict(&[("w", &tensor("0", 4))]), tuple(&[&tensor("0", 4), b"\x89"]));
    let torchs_own = "__torch__.torch.nn.quantized.modules.linear.Net";
    for (class, state, code, converts) in [
        ("__torch__.Net", &as_dict, plain, true),
        ("__torch__.Net", &as_tuple, plain, true),
        ("__torch__.Net", &as_dict, remade, false),
        ("__torch__.Net", &as_tuple, remade, false),
        ("__torch__.own.Net", &as_tuple, remade, false),
        (torchs_own, &as_tuple, remade, true),
        (torchs_own, &as_dict, remade, false),
    ] {
        let scratch = Scratch::new();
        let input = scratch.write("model.pt", &script(class, state, code));
        let run = convert(&input, &scratch.path("out.safetensors"), &["--json"]);
        let said: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let expected = if converts { None } else { Some("tensor-unsupported") };
        assert_eq!(said["reason"].as_str(), expected, "{class}: {said}");
    }
}

#[test]
fn a_member_of_an_enum_that_is_given_a_state_is_unrecognized() {
    let member = call(&global("http", "HTTPStatus"), &[&int(200)]);
    let changed = cat(&[&member, &dict(&[("phrase", &text("changed"))]), b"b"]);
    for (object, code, verdict) in [(&member, 0, "clean"), (&changed, 3, "unrecognized")] {
        let (run, said) = scan(&pickle(object), &["--deny", "unrecognized"]);
        assert_eq!((run.code, said["verdict"].as_str()), (code, Some(verdict)), "{said}");
    }
}

#[test]
fn source_in_the_state_of_a_distribution_is_dangerous_unless_scipy_made_it() {
    let own = "\ndef _parse_args(self,  loc=0, scale=1):\n    return (), loc, scale\n\ndef _parse_args_rvs(self,  loc=0, scale=1, size=None):\n    return self._argcheck_rvs( loc, scale, size=size)\n\ndef _parse_args_stats(self,  loc=0, scale=1, moments='mv'):\n    return (), loc, scale, moments\n";
    let other = format!("import os{own}");
    for (source, code, verdict) in [(text(own), 0, "clean"), (text(&other), 3, "dangerous"), (bytes(other.as_bytes()), 3, "dangerous")] {
        for class in ["scipy.stats._continuous_distns\nnorm_gen", "pack.age\nmine_gen"] {
            let class = format!("c{class}\n");
            let object = cat(&[class.as_bytes(), b")\x81", &dict(&[("_parse_arg_template", &source)]), b"b"]);
            let (run, said) = scan(&pickle(&object), &[]);
            let expected = if code == 0 && class.contains("mine") { "unrecognized" } else { verdict };
            assert_eq!((run.code, said["verdict"].as_str()), (code, Some(expected)), "{said}");
        }
    }
}
