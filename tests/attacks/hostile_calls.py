"""Benign files that contain one hostile call, in every form that pickle has for it.

Each opens with all of its values, the call as an inert Record, and nothing run.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.tree import Global, Record, walk
from tests.attacks import opcodes as op
from tests.attacks.case import INERT, OPENS, Case, data
from tests.attacks.containers import FLOATS, storage, tensor, torch_legacy, torch_zip

CANARY = "ckpt-attack-canary"
"""The file, in the working directory, that a call which is made would leave."""

TOUCH = f"touch {CANARY}"
SOURCE = f"open({CANARY!r}, 'w').write('run')"

CALLS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("os.system", (TOUCH,)),
    ("posix.system", (TOUCH,)),
    ("nt.system", (TOUCH,)),
    ("os.popen", (TOUCH,)),
    ("os.execl", ("/bin/sh", "sh", "-c", TOUCH)),
    ("os.execvp", ("touch", ["touch", CANARY])),
    ("os.spawnlp", (0, "touch", "touch", CANARY)),
    ("os.posix_spawn", ("/bin/sh", ["sh", "-c", TOUCH], {})),
    ("os.kill", (1, 9)),
    ("os._exit", (0,)),
    ("os.abort", ()),
    ("os.fork", ()),
    ("os.remove", ("/tmp/ckpt-no-such-file",)),
    ("os.mkdir", (CANARY,)),
    ("os.putenv", ("PATH", "")),
    ("shutil.rmtree", ("/tmp/ckpt-no-such-folder",)),
    ("shutil.copyfile", ("/etc/hostname", CANARY)),
    ("subprocess.call", (["touch", CANARY],)),
    ("subprocess.run", (["touch", CANARY],)),
    ("subprocess.Popen", (["touch", CANARY],)),
    ("subprocess.check_output", (["touch", CANARY],)),
    ("subprocess.getoutput", (TOUCH,)),
    ("commands.getoutput", (TOUCH,)),
    ("pty.spawn", (["touch", CANARY],)),
    ("asyncio.subprocess.create_subprocess_shell", (TOUCH,)),
    ("builtins.eval", (SOURCE,)),
    ("builtins.exec", (SOURCE,)),
    ("builtins.compile", (SOURCE, "x", "exec")),
    ("builtins.open", (CANARY, "w")),
    ("builtins.__import__", ("antigravity",)),
    ("builtins.getattr", (op.name("os.path"), "os")),
    ("builtins.setattr", (op.name("sys.modules"), "x", 1)),
    ("builtins.delattr", (op.name("os.environ"), "x")),
    ("builtins.globals", ()),
    ("builtins.breakpoint", ()),
    ("builtins.exit", ()),
    ("builtins.input", ()),
    ("builtins.print", ("run",)),
    ("builtins.vars", ()),
    ("builtins.map", (op.name("os.system"), [TOUCH])),
    ("builtins.filter", (op.name("os.system"), [TOUCH])),
    ("builtins.apply", (op.name("os.system"), (TOUCH,))),
    ("builtins.type", ("X", (), {})),
    ("builtins.list", ("ab",)),
    ("builtins.tuple", (["a"],)),
    ("builtins.memoryview", (b"ab",)),
    ("builtins.range", (1 << 62,)),
    ("builtins.bytes", (1 << 62,)),
    ("builtins.bytearray", (1 << 62,)),
    ("builtins.pow", (10, 1 << 40)),
    ("__builtin__.eval", (SOURCE,)),
    ("__builtin__.file", (CANARY, "w")),
    ("__builtin__.execfile", ("/etc/hostname",)),
    ("operator.attrgetter", ("system",)),
    ("operator.methodcaller", ("system", TOUCH)),
    ("operator.itemgetter", ("x",)),
    ("functools.partial", (op.name("os.system"), TOUCH)),
    ("functools.reduce", (op.name("builtins.eval"), [SOURCE])),
    ("itertools.starmap", (op.name("os.system"), [(TOUCH,)])),
    ("types.FunctionType", (op.name("os.system"), {})),
    ("types.CodeType", (0, 0, 0, 0, 0, b"", (), (), (), "x", "x", 1, b"")),
    ("types.ModuleType", ("x",)),
    ("importlib.import_module", ("antigravity",)),
    ("importlib.reload", (op.name("os.path"),)),
    ("importlib.util.find_spec", ("antigravity",)),
    ("runpy.run_path", ("/etc/hostname",)),
    ("runpy._run_code", (SOURCE, {})),
    ("imp.load_source", ("x", "/etc/hostname")),
    ("pkgutil.resolve_name", ("os:system",)),
    ("pydoc.locate", ("os.system",)),
    ("pydoc.pipepager", ("x", TOUCH)),
    ("code.interact", ()),
    ("pdb.run", (SOURCE,)),
    ("timeit.timeit", (SOURCE,)),
    ("cProfile.run", (SOURCE,)),
    ("profile.run", (SOURCE,)),
    ("trace.Trace", ()),
    ("bdb.Bdb", ()),
    ("doctest.debug_script", (SOURCE,)),
    ("webbrowser.open", ("https://example.invalid",)),
    ("urllib.request.urlopen", ("https://example.invalid",)),
    ("urllib.request.urlretrieve", ("https://example.invalid", CANARY)),
    ("http.client.HTTPSConnection", ("example.invalid",)),
    ("socket.create_connection", (("example.invalid", 80),)),
    ("socket.gethostbyname", ("example.invalid",)),
    ("ftplib.FTP", ("example.invalid",)),
    ("smtplib.SMTP", ("example.invalid",)),
    ("requests.get", ("https://example.invalid",)),
    ("pip.main", (["install", "x"],)),
    ("pip._internal.main", (["install", "x"],)),
    ("pip._internal.cli.main.main", (["install", "x"],)),
    ("setuptools.setup", ()),
    ("distutils.spawn.spawn", (["touch", CANARY],)),
    ("ensurepip.bootstrap", ()),
    ("venv.create", (CANARY,)),
    ("codecs.open", (CANARY, "w")),
    ("_codecs.encode", ("x", "rot13")),
    ("_codecs.decode", (b"x", "unicode_escape")),
    ("codecs.decode", (b"789c", "zlib_codec")),
    ("_io.FileIO", (CANARY, "w")),
    ("io.open_code", ("/etc/hostname",)),
    ("_pickle.loads", (b"cos\nsystem\n(S'" + TOUCH.encode() + b"'\ntR.",)),
    ("pickle.loads", (b"cos\nsystem\n(S'" + TOUCH.encode() + b"'\ntR.",)),
    ("marshal.loads", (b"\xe3" + bytes(40),)),
    ("dill._dill._create_function", (b"x", {})),
    ("dill._dill._eval_repr", (SOURCE,)),
    ("cloudpickle.cloudpickle.subimport", ("antigravity",)),
    ("cloudpickle.cloudpickle._make_function", (b"x", {}, None, None, None)),
    ("cloudpickle.cloudpickle._builtin_type", ("CodeType",)),
    ("cloudpickle.cloudpickle._make_skeleton_class", (op.name("builtins.type"), "X", (), {}, None, None)),
    ("joblib.load", ("/etc/hostname",)),
    ("joblib._memmapping_reducer.reduce_array_memmap_backward", (b"x",)),
    ("numpy.load", ("/etc/hostname",)),
    ("numpy.fromfile", ("/etc/hostname",)),
    ("numpy.memmap", ("/etc/hostname",)),
    ("numpy.loadtxt", ("/etc/hostname",)),
    ("numpy.save", (CANARY, 1)),
    ("numpy.zeros", ((1 << 50,),)),
    ("numpy.empty", ((1 << 50,),)),
    ("numpy.ndarray", ((1 << 50,),)),
    ("numpy.f2py.compile", (SOURCE,)),
    ("numpy.testing._private.utils.runstring", (SOURCE, {})),
    ("numpy.distutils.exec_command.exec_command", (TOUCH,)),
    ("numpy.ctypeslib.load_library", ("libc", "/")),
    ("ctypes.CDLL", ("libc.so.6",)),
    ("ctypes.string_at", (0, 8)),
    ("ctypes.memset", (0, 0, 8)),
    ("gc.get_objects", ()),
    ("sys.exit", (1,)),
    ("sys.setrecursionlimit", (1 << 30,)),
    ("sys.settrace", (None,)),
    ("sys._getframe", ()),
    ("signal.raise_signal", (9,)),
    ("atexit.register", (op.name("os.abort"),)),
    ("threading.Thread", (None, op.name("os.abort"))),
    ("multiprocessing.Process", (None, op.name("os.abort"))),
    ("faulthandler._sigsegv", ()),
    ("logging.config.listen", ()),
    ("logging.FileHandler", (CANARY,)),
    ("sqlite3.connect", (CANARY,)),
    ("zipfile.ZipFile", (CANARY, "w")),
    ("tarfile.open", (CANARY, "w")),
    ("tempfile.mkdtemp", ()),
    ("pathlib.Path.unlink", (op.name("pathlib.Path"),)),
    ("pathlib.Path.write_text", (CANARY, "x")),
    ("copyreg._reconstructor", (op.name("os.system"), op.name("builtins.object"), None)),
    ("copyreg.add_extension", ("os", "system", 7)),
    ("collections.namedtuple", ("X", "a b")),
    ("collections._chain", ([1],)),
    ("weakref.finalize", (op.name("os.abort"), op.name("os.abort"))),
    ("random._os.system", (TOUCH,)),
    ("torch.load", ("/etc/hostname",)),
    ("torch.hub.load", ("x/y", "z")),
    ("torch.hub.load_state_dict_from_url", ("https://example.invalid",)),
    ("torch.hub._import_module", ("x", "/etc/hostname")),
    ("torch.ops.load_library", ("libc.so.6",)),
    ("torch.classes.load_library", ("libc.so.6",)),
    ("torch.utils.cpp_extension.load_inline", ("x", SOURCE)),
    ("torch.jit.load", ("/etc/hostname",)),
    ("torch.storage._load_from_bytes", (b"\x80\x02cos\nsystem\n(S'x'\ntR.",)),
    ("torch._dynamo.utils.import_submodule", ("antigravity",)),
    ("torch.serialization.load", ("/etc/hostname",)),
    ("torch.distributed.rpc.internal.serialize", ("x",)),
    ("torch.fx._symbolic_trace.eval", (SOURCE,)),
    ("torch.fx.graph_module.reduce_graph_module", ({"_code": SOURCE}, "import os")),
    ("jax._src.lib.xla_client.load", ("x",)),
    ("flax.serialization.msgpack_restore", (b"x",)),
    ("transformers.AutoModel.from_pretrained", ("x/y",)),
    ("tensorflow.io.write_file", (CANARY, "x")),
    ("sklearn.externals.joblib.load", ("/etc/hostname",)),
    ("pandas.read_pickle", ("/etc/hostname",)),
    ("yaml.unsafe_load", ("!!python/object/apply:os.system ['x']",)),
    ("jinja2.Template", ("{{ x }}",)),
    ("__main__.Payload", (TOUCH,)),
    ("no.such.module.function", (TOUCH,)),
    ("os.path.os.system", (TOUCH,)),
    ("..os", (TOUCH,)),
    ("ckpt_core.convert", ("/etc/hostname", CANARY)),
    ("ckpt_core.api.save_checkpoint", (CANARY, {})),
    ("__import__('os')", (TOUCH,)),
    ("os.system;eval", (SOURCE,)),
)

EVERY = 5
"""Of all pairs of a call and a form, every so many-th is read, and all with CKPT_ALL_ATTACKS in the environment."""

Form = Callable[[str, str, tuple[Any, ...], int], bytes]


def _arguments(args: tuple[Any, ...], protocol: int) -> list[bytes]:
    return [op.value(arg, protocol) for arg in args]


def _reduce(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    return op.global_(module, name, protocol) + op.value(args, protocol) + op.REDUCE


def _newobj(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    return op.global_(module, name, protocol) + op.value(args, protocol) + b"\x81"


def _newobj_ex(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    return (
        op.global_(module, name, protocol)
        + op.value(args, protocol)
        + op.value({"shell": True}, protocol)
        + b"\x92"
    )


def _inst(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    return b"(" + b"".join(_arguments(args, protocol)) + b"i" + f"{module}\n{name}\n".encode()


def _obj(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    return b"(" + op.global_(module, name, protocol) + b"".join(_arguments(args, protocol)) + b"o"


def _build(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    """A state with a hostile setter, restored into an object."""
    state = {"__setstate__": op.Raw(op.global_(module, name, protocol))}
    made = op.global_("__main__", "Victim", protocol) + b")R"
    return made + op.value(state, protocol) + op.BUILD + op.value({"x": list(args)}, protocol) + op.BUILD


def _build_on_global(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    return op.global_(module, name, protocol) + op.value({"x": list(args)}, protocol) + op.BUILD


def _getattr(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    """getattr(import_module(MODULE), NAME)(*args)"""
    imported = op.call("importlib", "import_module", op.text(module, protocol), protocol=protocol)
    found = op.call("builtins", "getattr", imported, op.text(name, protocol), protocol=protocol)
    return found + op.value(args, protocol) + op.REDUCE


def _attrgetter(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    getter = op.call("operator", "attrgetter", op.text(name, protocol), protocol=protocol)
    return (
        getter
        + op.tuple_(op.global_(module, "__spec__", protocol))
        + op.REDUCE
        + op.value(args, protocol)
        + op.REDUCE
    )


def _partial(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    partial = op.call(
        "functools",
        "partial",
        op.global_(module, name, protocol),
        *_arguments(args, protocol),
        protocol=protocol,
    )
    return partial + b")" + op.REDUCE


def _reconstructor(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    target, base = op.global_(module, name, protocol), op.global_("builtins", "object", protocol)
    made = op.call("copyreg", "_reconstructor", target, base, b"N", protocol=protocol)
    return made + op.value({"x": list(args)}, protocol) + op.BUILD


def _copyreg_newobj(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    return op.call(
        "copyreg",
        "__newobj__",
        op.global_(module, name, protocol),
        *_arguments(args, protocol),
        protocol=protocol,
    )


def _rebuilt_type(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    """torch's _rebuild_from_type_v2(FUNCTION, type, args, state), which calls what it is given."""
    function, kind = op.global_(module, name, protocol), op.global_("torch", "Tensor", protocol)
    return op.call(
        "torch._tensor",
        "_rebuild_from_type_v2",
        function,
        kind,
        op.value(args, protocol),
        b"}",
        protocol=protocol,
    )


def _appended(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    """An object whose append method is the call."""
    return _reduce(module, name, args, protocol) + b"(" + b"".join(_arguments(args, protocol)) + b"e"


def _set_items(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    """An object whose __setitem__ is the call."""
    return _reduce(module, name, args, protocol) + op.text("key", protocol) + op.value(args, protocol) + b"s"


def _state_setter(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    """A state setter, the sixth part of a reduction: SETTER(object, state), its value dropped."""
    made = op.global_("__main__", "Victim", protocol) + b")Rp9\n0"
    setter = op.global_(module, name, protocol) + op.tuple_(b"g9\n", op.value(args, protocol)) + op.REDUCE
    return made + setter + b"0g9\n"


def _in_a_subclass(module: str, name: str, args: tuple[Any, ...], protocol: int) -> bytes:
    """numpy's _reconstruct(CLASS, ...)."""
    target = op.global_(module, name, protocol)
    return op.call(
        "numpy.core.multiarray",
        "_reconstruct",
        target,
        op.value((0,), protocol),
        op.value(b"b", protocol),
        protocol=protocol,
    )


FORMS: dict[str, tuple[Form, tuple[int, ...]]] = {
    "reduce": (_reduce, (0, 1, 2, 3, 4, 5)),
    "newobj": (_newobj, (2, 4)),
    "newobj_ex": (_newobj_ex, (4,)),
    "inst": (_inst, (0, 1)),
    "obj": (_obj, (1, 2)),
    "build": (_build, (0, 2, 4)),
    "build_on_global": (_build_on_global, (2, 4)),
    "getattr": (_getattr, (0, 3, 4)),
    "attrgetter": (_attrgetter, (2, 4)),
    "partial": (_partial, (0, 2, 5)),
    "reconstructor": (_reconstructor, (0, 2)),
    "copyreg_newobj": (_copyreg_newobj, (1, 4)),
    "rebuilt_type": (_rebuilt_type, (2,)),
    "appended": (_appended, (2, 4)),
    "set_items": (_set_items, (2, 4)),
    "state_setter": (_state_setter, (2, 4)),
    "in_a_subclass": (_in_a_subclass, (2, 4)),
}


def _tree(array: bytes, call: bytes, protocol: int) -> bytes:
    """{"model": {"w": array}, "epoch": 3, "payload": the call, "after": [1, "x"]}"""
    return op.dict_(
        {
            "model": op.dict_({"w": array}, protocol),
            "epoch": op.integer(3, protocol),
            "payload": call,
            "after": op.value([1, "x"], protocol),
        },
        protocol,
    )


def check(tree: Any) -> None:
    """The values beside the call are exact, and the call is data."""
    assert list(tree) == ["model", "epoch", "payload", "after"], list(tree)
    w = tree["model"]["w"]
    assert (w.shape, w.dtype) == ((2, 3), "float32"), w
    assert w.read().tobytes() == FLOATS
    assert tree["epoch"] == 3 and tree["after"] == [1, "x"]
    assert any(isinstance(node, (Record, Global)) for _, node in walk(tree["payload"])) or _is_known(
        tree["payload"]
    )


def _without_payload(tree: Any) -> None:
    """What a call leaves on the stack is not in the tree, which is whole all the same."""
    assert list(tree) == ["model", "epoch", "payload", "after"], list(tree)
    assert tree["model"]["w"].read().tobytes() == FLOATS


def _is_known(value: Any) -> bool:
    """What a constructor of the closed table makes of such a call is plain data."""
    return isinstance(value, (dict, list, tuple, str, bytes, LazyArray))


def _containers(name: str, call: bytes, protocol: int, number: int) -> Iterator[Case]:
    plain = op.pickled(_tree(op.ndarray(FLOATS, (2, 3), protocol=protocol), call, protocol), protocol)
    yield data(f"{name}.pkl", plain, INERT, check)
    if protocol != 2:
        return
    body = _tree(tensor(), call, 2)
    kind = number // EVERY % 4
    if kind == 0:
        yield data(f"{name}.pth", torch_zip(body), INERT, check)
    elif kind == 1:
        yield data(f"{name}_legacy.pth", torch_legacy(body), INERT, check)
    elif kind == 2:
        yield data(f"{name}.pkl.gz", gzip.compress(plain, mtime=0), INERT, check)
    else:
        yield data(f"{name}_joblib.joblib", op.pickled(_tree(_joblib_array(), call, 2), 2), INERT, check)


def _joblib_array() -> bytes:
    descr = op.call("numpy", "dtype", op.text("f4", 2), b"I00\n", b"I01\n", protocol=2)
    state = {
        "subclass": op.name("numpy.ndarray"),
        "shape": (2, 3),
        "order": "C",
        "dtype": op.Raw(descr),
        "allow_mmap": True,
    }
    wrapper = op.global_("joblib.numpy_pickle", "NumpyArrayWrapper", 2) + b")\x81"
    return wrapper + op.value(state, 2) + op.BUILD + FLOATS


def cases() -> Iterator[Case]:
    """Calls in all forms, the protocols and the containers in rotation."""
    number = 0
    every = 1 if "CKPT_ALL_ATTACKS" in os.environ else EVERY
    for target, args in CALLS:
        module, _, name = target.rpartition(".")
        for form, (build, protocols) in FORMS.items():
            number += 1
            if number % every:
                continue
            protocol = protocols[number // EVERY % len(protocols)]
            safe = "".join(sign if sign.isalnum() or sign in "._" else "-" for sign in target)
            code = build(module, name, args, protocol)
            yield from _containers(f"calls/{form}-p{protocol}-{number}-{safe}", code, protocol, number)
    for protocol in range(6):  # the simplest one in all protocols and all containers
        call = _reduce("os", "system", (TOUCH,), protocol)
        for kind in range(4):
            yield from _containers(f"calls/every-p{protocol}-{kind}", call, protocol, kind * EVERY)
    yield from _others()
    yield from _within_tensors()


def _within_tensors() -> Iterator[Case]:
    """A call in the place of each part of a tensor, of a parameter and of a storage."""
    call = op.Raw(_reduce("os", "system", (TOUCH,), 2))
    hooks = op.Raw(op.call("collections", "OrderedDict", protocol=2))
    window = (op.Raw(storage()), 0, (2, 3), (3, 1), False, hooks)
    places: dict[str, bytes] = {}
    for number in range(1, 6):
        args = op.value((*window[:number], call, *window[number + 1 :]), 2)
        places[f"tensor-{number}"] = op.global_("torch._utils", "_rebuild_tensor_v2", 2) + args + op.REDUCE
    places["tensor-flags"] = tensor(None, 0, (2, 3), (3, 1), call)
    places["tensor-one-size"] = tensor(None, 0, (2, call), (3, 1))
    weights = op.Raw(tensor())
    for number, args in enumerate(((weights, call, hooks), (weights, False, call), (call, False, hooks))):
        places[f"parameter-{number}"] = (
            op.global_("torch._utils", "_rebuild_parameter", 2) + op.value(args, 2) + op.REDUCE
        )
        places[f"parameter-with-state-{number}"] = (
            op.global_("torch._utils", "_rebuild_parameter_with_state", 2)
            + op.value((*args, {"a": 1}), 2)
            + op.REDUCE
        )
    places["parameter-old"] = (
        op.call("torch.nn.parameter", "Parameter", tensor(), protocol=2) + op.value((call,), 2) + op.BUILD
    )
    parts = ("storage", op.name("torch.FloatStorage"), "0", "cpu", 6)
    for number in (1, 2, 4):
        pid = op.value((*parts[:number], call, *parts[number + 1 :]), 2) + b"Q"
        places[f"storage-{number}"] = tensor(pid)
    for place, code in places.items():
        yield data(f"calls/within-{place}.pth", torch_zip(_tree(tensor(), code, 2)), OPENS, _has_call)


def _has_call(tree: Any) -> None:
    check(tree)
    names = [node.type_name for _, node in walk(tree["payload"]) if isinstance(node, Record)]
    assert names.count("os.system") == 1, names


def _others() -> Iterator[Case]:
    """What is no call on a name of the file's choice, and could be."""
    for width, code in ((b"\x82", b"\x07"), (b"\x83", b"\x07\x01"), (b"\x84", b"\x07\x00\x00\x01")):
        call = width + code + op.value((TOUCH,), 2) + op.REDUCE
        yield data(
            f"calls/extension-{len(code)}.pkl",
            op.pickled(_tree(op.ndarray(FLOATS, (2, 3)), call, 4)),
            INERT,
            check,
        )
    persistent = op.text("os.system") + b"Q"
    yield data(
        "calls/persistent.pkl", op.pickled(_tree(op.ndarray(FLOATS, (2, 3)), persistent, 4)), INERT, check
    )
    line = op.pickled(_tree(op.ndarray(FLOATS, (2, 3), protocol=0), b"Pos.system\n", 0), 0)
    yield data("calls/persistent-p0.pkl", line, INERT, check)
    dotted = op.text("os") + op.text("path.os.system") + b"\x93" + op.value((TOUCH,)) + op.REDUCE
    yield data("calls/dotted.pkl", op.pickled(_tree(op.ndarray(FLOATS, (2, 3)), dotted, 4)), INERT, check)
    memo = op.text("os") + b"\x94" + op.text("system") + b"\x94\x93" + op.value((TOUCH,)) + op.REDUCE
    yield data("calls/memoized.pkl", op.pickled(_tree(op.ndarray(FLOATS, (2, 3)), memo, 4)), INERT, check)
    made = op.call("builtins", "tuple", op.value([TOUCH])) + op.REDUCE
    yield data(
        "calls/made-arguments.pkl",
        op.pickled(_tree(op.ndarray(FLOATS, (2, 3)), op.global_("os", "system") + made, 4)),
        INERT,
        check,
    )
    dropped = _reduce("os", "system", (TOUCH,), 4) + b"0N"
    tree = _tree(op.ndarray(FLOATS, (2, 3)), op.name("os.system").code + dropped + b"0", 4)
    yield data("calls/dropped.pkl", op.pickled(tree), INERT, check)
    before = _reduce("os", "system", (TOUCH,), 4) + _tree(op.ndarray(FLOATS, (2, 3)), b"N", 4)
    yield data("calls/left-before.pkl", op.pickled(before), INERT, _without_payload)
    marked = b"(" + _reduce("os", "system", (TOUCH,), 2) + _tree(tensor(), b"N", 2)
    yield data("calls/left-behind-a-mark.pth", torch_zip(marked), INERT, _without_payload)
    key = op.pickled(b"(" + _reduce("os", "system", (TOUCH,), 4) + b"Nd")
    yield data("calls/key.pkl", key, INERT)
