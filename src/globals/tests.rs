//! What the table of meanings says of published gadgets, and of what honest files carry.

use super::*;

/// Globals from published files and reports that run code, touch files or reach the network, as `module name`.
const GADGETS: &str = "
    os system|posix system|nt system|os popen|posix popen|subprocess Popen|subprocess check_output|commands getoutput
    builtins eval|builtins exec|builtins compile|builtins open|builtins __import__|builtins breakpoint|__builtin__ eval
    __builtin__ execfile|__builtin__ apply|__builtin__ file|__builtin__ input|builtins globals|builtins setattr
    runpy _run_code|runpy run_path|importlib import_module|pkgutil resolve_name|pydoc locate|pydoc pipepager
    code InteractiveInterpreter.runcode|cProfile run|profile Profile.runctx|profile run|timeit timeit|trace Trace.run
    bdb Bdb.run|pdb run|pdb Pdb.run|doctest debug_script|ensurepip _run_pip|pip main|pip._internal main|venv create
    idlelib.autocomplete AutoComplete.get_entity|idlelib.calltip get_entity|idlelib.debugobj ObjectTreeItem.SetText
    idlelib.pyshell ModifiedInterpreter.runcommand|idlelib.run Executive.runcode|lib2to3.pgen2.grammar Grammar.loads
    lib2to3.pgen2.pgen ParserGenerator.make_label|imaplib IMAP4_stream|uuid _get_command_stdout|pty spawn
    _osx_support _read_output|_osx_support _find_build_tool|_aix_support _read_cmd_output|_pyrepl.pager pipe_pager
    test.support.script_helper assert_python_ok|distutils.file_util write_file|asyncio.unix_events _UnixSubprocessTransport._start
    ctypes CDLL|_io FileIO|io open|logging FileHandler|logging.config dictConfig|shutil rmtree|webbrowser open|mailcap findmatch
    socket create_connection|ssl get_server_certificate|httplib HTTPSConnection|http.client HTTPSConnection|urllib urlopen
    urllib2 urlopen|urllib.request urlopen|requests.api get|aiohttp.client ClientSession|smtplib SMTP|ftplib FTP|cgitb lookup
    pickle loads|_pickle loads|cPickle loads|marshal loads|shelve open|dill loads|cloudpickle.cloudpickle _make_function
    dill._dill _create_function|joblib load|joblib.numpy_pickle load|numpy load|pandas read_pickle|pandas.io.pickle read_pickle
    types CodeType|types FunctionType|new function|operator attrgetter|_operator methodcaller|dataclasses _create_fn
    typing _eval_type|typing ForwardRef._evaluate|numpy.f2py.crackfortran getlincoef|numpy.f2py.crackfortran myeval
    numpy.f2py.crackfortran _eval_length|numpy.testing._private.utils runstring|numpy.distutils.exec_command exec_command
    torch load|torch.serialization load|torch.hub load|torch.jit load|torch.jit.unsupported_tensor_ops execWrapper
    torch.utils.collect_env run|torch.utils._config_module ConfigModule.load_config|torch.utils.bottleneck.__main__ run_cprofile
    torch.utils.data.datapipes.utils.decoder basichandlers|torch._dynamo.guards GuardBuilder.get
    torch._inductor.codecache compile_file|torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression
    torch.fx.graph_module reduce_graph_module|torch.utils.cpp_extension load_inline|torch.distributed.run run_script_path
    torch.multiprocessing.spawn start_processes|torch.package.package_importer PackageImporter|torch._utils _import_dotted_name
    scipy._lib._uarray._backend unpickle_function|sympy sympify
    sympy.parsing.sympy_parser parse_expr|numexpr evaluate|jinja2 Template|yaml unsafe_load|IPython.utils.process system
    transformers pipeline|transformers.dynamic_module_utils get_class_in_module|huggingface_hub snapshot_download
    mlflow.pyfunc load_model|stable_baselines3.common.vec_env.base_vec_env CloudpickleWrapper|PIL.ImageMath eval
    torch os.system|torch os|collections _sys.modules|enum bltns.eval|xml.dom minidom.io.open|os.path os.system|numpy testing.runstring
    six.moves.builtins eval|six.moves builtins.eval|torch.serialization os.system|torch.serialization.os system|logging os
    builtins eval.__call__|__main__ Net.__init__.__globals__|torch.nn Linear.__subclasses__|anything __builtins__
    sklearn.utils import_module|pathlib PosixPath.unlink|pathlib._local Path.write_text|anything.at_all check_output
    weakref finalize|copy _reconstruct|functools reduce|__builtin__ reduce|itertools imap|string Formatter.get_field
";

/// Globals of honest files.
const HONEST: &str = "
    collections OrderedDict|collections defaultdict|collections OrderedDict.fromkeys|__builtin__ set|__builtin__ xrange|UserDict UserDict
    copy_reg _reconstructor|copyreg __newobj_ex__|datetime datetime|decimal Decimal|fractions Fraction|uuid UUID|ipaddress IPv4Address
    re _compile|random Random|pathlib PosixPath|pathlib._local PosixPath|argparse Namespace|types SimpleNamespace|functools partial
    operator itemgetter|logging getLogger|enum auto|typing Any|inspect Signature|sys intern|signal Signals|http HTTPStatus
    urllib.parse ParseResult|urlparse ParseResult|exceptions ValueError|builtins getattr|builtins type|os.path join|posixpath join
    numpy dtype|numpy ndarray|numpy trace|numpy.core.multiarray scalar|numpy.random._pickle __generator_ctor|scipy signal.windows.hann
    numpy.random.mtrand RandomState|numpy.random __RandomState_ctor|torch Size|torch device|torch float32|torch.storage UntypedStorage
    torch._C _VariableFunctions|torch.nn.modules.linear Linear|torch.nn.modules.linear Linear.forward|torch.optim.adam Adam
    torch.optim.lr_scheduler CosineAnnealingLR|torch.jit._script RecursiveScriptModule|torch.fx._symbolic_trace Tracer
    torch.fx.graph_module GraphModule|torch.distributed.fsdp.api ShardingStrategy|__main__ Net|__main__ Config.__new__|src.trace Net
    models.code Net|utils.profile Profile|models.test Net|signal.models Net2|pytorch_lightning.utilities.parsing AttributeDict
    pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint|omegaconf.dictconfig DictConfig|omegaconf.nodes AnyNode
    transformers.training_args TrainingArguments|transformers.trainer_utils SchedulerType|transformers.models.bert.modeling_bert BertModel
    ultralytics.nn.tasks DetectionModel|ultralytics.nn.modules.conv Conv|models.yolo Model|mmengine.config.config ConfigDict
    mmcv.utils.config Config|fairseq.data.dictionary Dictionary|allennlp.data.vocabulary Vocabulary|yacs.config CfgNode
    pandas.core.frame DataFrame|pandas._libs.internals _unpickle_block|pandas.core.internals.managers BlockManager
    sklearn.ensemble._forest RandomForestClassifier|sklearn.tree._tree Tree|sklearn.utils._bunch Bunch|scipy.sparse._csr csr_matrix
    xgboost.sklearn XGBClassifier|gym.spaces.box Box|joblib.numpy_pickle NumpyArrayWrapper|madmom.ml.nn.layers Gate
    torchvision.transforms.transforms Compose|timm.models.vision_transformer VisionTransformer|whisper.model Whisper
";

fn pairs(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let entries = text.split(['|', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| entry.split_once(' ').unwrap_or_else(|| panic!("{entry}")))
}

#[test]
fn no_row_is_there_twice() {
    let mut seen = std::collections::HashSet::new();
    for (module, name, _) in [torch::ROWS, numpy::ROWS, python::ROWS].into_iter().flatten() {
        assert!(seen.insert((module, name)), "{module}.{name} has two rows");
        assert!(dangerous::named(module, name).is_none() && inert::named(module, name).is_none(), "{module}.{name} is in a list");
    }
}

#[test]
fn published_gadgets_are_dangerous() {
    assert!(pairs(GADGETS).count() > 150);
    let missed: Vec<_> = pairs(GADGETS)
        .filter(|(module, name)| !matches!(meaning(module, name), Some(Meaning::Dangerous(_) | Meaning::DangerousCall(_))))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn what_honest_files_carry_is_not_dangerous() {
    let dangerous: Vec<_> = pairs(HONEST)
        .filter(|(module, name)| matches!(meaning(module, name), Some(Meaning::Dangerous(_) | Meaning::DangerousCall(_))))
        .collect();
    assert!(dangerous.is_empty(), "{dangerous:?}");
}

#[test]
fn plain_classes_are_known_and_their_neighbours_are_not() {
    for (module, name) in [("uuid", "UUID"), ("sklearn.tree._classes", "DecisionTreeClassifier"), ("pandas.core.frame", "DataFrame")] {
        assert!(matches!(meaning(module, name), Some(Meaning::Harmless | Meaning::PlainClass)), "{module} {name}");
    }
    for (module, name) in [("__main__", "Net"), ("torch.nn.modules.module", "register_module_forward_hook"), ("sklearn.treehouse", "Tree")]
    {
        assert!(meaning(module, name).is_none(), "{module} {name}");
    }
    assert!(matches!(meaning("sklearn.tree._classes", "Popen"), Some(Meaning::Dangerous(_))));
    assert!(matches!(meaning("numpy", "memmap"), Some(Meaning::DangerousCall(_))));
}

#[test]
fn old_names_of_modules_mean_what_the_new_ones_mean() {
    assert!(matches!(meaning("__builtin__", "eval"), Some(Meaning::Dangerous(_))));
    assert!(matches!(meaning("__builtin__", "getattr"), Some(Meaning::Attribute)));
    assert!(matches!(meaning("exceptions", "StandardError"), Some(Meaning::Harmless | Meaning::PlainClass)));
    assert!(matches!(meaning("numpy._core.multiarray", "_reconstruct"), Some(Meaning::RebuildWithState(_))));
    assert!(matches!(meaning("torch._utils", "_rebuild_anything"), Some(Meaning::UnknownRebuild)));
    assert!(matches!(meaning("numpy.ma.core", "loads"), Some(Meaning::Dangerous(_))));
    assert!(meaning("torch.nn.modules.module", "register_module_forward_hook").is_none());
}

#[test]
fn attributes_mean_what_the_dotted_name_means() {
    assert!(matches!(attribute_meaning("torch", "os", "system"), Some(Meaning::Dangerous(_))));
    assert!(matches!(attribute_meaning("builtins", "dict", "__subclasses__"), Some(Meaning::Dangerous(_))));
    assert!(matches!(attribute_meaning("torch._C", "_VariableFunctions", "from_file"), Some(Meaning::Dangerous(_))));
    assert!(matches!(attribute_meaning("pathlib", "PosixPath", "unlink"), Some(Meaning::Dangerous(_))));
    assert!(matches!(attribute_meaning("torch._C", "_VariableFunctions", "tanh"), Some(Meaning::Harmless | Meaning::PlainClass)));
    assert!(matches!(attribute_meaning("builtins", "dict", "fromkeys"), Some(Meaning::Harmless | Meaning::PlainClass)));
    assert!(attribute_meaning("__main__", "Color", "RED").is_none());
}

#[test]
fn a_chain_of_any_length_is_read_in_bounded_time() {
    let chain = "a.".repeat(1 << 20);
    let start = std::time::Instant::now();
    for (module, name) in [(chain.as_str(), "b"), ("a", chain.as_str()), ("torch", chain.as_str())] {
        for _ in 0..100_000 {
            assert!(matches!(meaning(module, name), Some(Meaning::Dangerous(_))));
        }
    }
    assert!(start.elapsed().as_secs() < 5);
}
