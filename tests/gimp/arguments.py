"""The procedures' arguments against the library's own table of options (ldm_options): the same names, limits, choices
in the same order, defaults."""
from harness import *

import ctypes


class Option(ctypes.Structure):
    """LdmOption of ldm.h"""
    _fields_ = [("name", ctypes.c_char_p), ("field", ctypes.c_size_t), ("type", ctypes.c_char_p),
                ("minimum", ctypes.c_double), ("maximum", ctypes.c_double),
                ("choices", ctypes.POINTER(ctypes.c_char_p)), ("tasks", ctypes.c_uint),
                ("blurb", ctypes.c_char_p)]


ldm = ctypes.CDLL(os.path.join(os.path.dirname(os.environ["TEST_WORKER"]), "..", "libldm.so"))
ldm.ldm_options.restype = ctypes.POINTER(Option)
ldm.ldm_request_new.restype = ldm.ldm_request_get.restype = ctypes.c_void_p
glib = ctypes.CDLL("libglib-2.0.so.0")
glib.g_variant_print.restype = ctypes.c_char_p

OWN = {"model", "output", "adapter", "adapter-weight", "variations", "sides", "pixels", "overlap"}  # the plug-in's, which are no options of a request
# only for the command line
NOT_IN_GIMP = {"eta", "lora", "embedding", "guidance-rescale", "guidance-start", "guidance-end", "reuse", "merge", "surroundings",
               "precision"}
OWN_DEFAULTS = {"refine": 0.5}    # the library leaves out what no other implementation does, unless it is asked for
SEED_MAXIMUM = GLib.MAXINT32       # GIMP's arguments have 32 bits, the library's seeds 63


def choices(option):
    nicks = []
    while option.choices and option.choices[len(nicks)] is not None:
        nicks.append(option.choices[len(nicks)].decode())
    return nicks


def default(task, name):
    """As GVariant prints it: 20, 4.0, 'ddim'."""
    request = ctypes.c_void_p(ldm.ldm_request_new(task))
    value = ctypes.c_void_p(ldm.ldm_request_get(request, name.encode()))
    text = glib.g_variant_print(value, 0).decode()
    ldm.ldm_request_free(request)
    return text.strip("'")


def table(task):
    """The library's options of a task by name."""
    rows = {}
    for option in iter_rows():
        if option.tasks & 1 << task and option.name.decode() not in NOT_IN_GIMP:
            rows[option.name.decode()] = option
    return rows


def iter_rows():
    options, i = ldm.ldm_options(), 0
    while options[i].name is not None:
        yield options[i]
        i += 1


def compare(procedure, task, without=()):
    specs = {s.name: s for s in Gimp.get_pdb().lookup_procedure(procedure).get_arguments()
             if s.name not in {"run-mode", "image", "drawables"} | OWN}
    options = {name: option for name, option in table(task).items() if name not in without}
    check(specs.keys() == options.keys(), f"{procedure} has {sorted(specs)}, the library {sorted(options)}")
    for name, option in options.items():
        spec, where = specs[name], f"{procedure} {name}: "
        value = Gimp.param_spec_choice_get_default(spec) if choices(option) else spec.get_default_value()
        if choices(option):
            nicks = Gimp.param_spec_choice_get_choice(spec).list_nicks()
            check(nicks == choices(option), f"{where}{nicks}, the library has {choices(option)}")
        elif option.type != b"s":
            limits = (spec.minimum, spec.maximum)
            wanted = (option.minimum, SEED_MAXIMUM if name == "seed" else option.maximum)
            check(limits == wanted, f"{where}{limits}, the library has {wanted}")
            check(isinstance(value, float) == (option.type == b"d"), f"{where}a number of another kind")
        own = str(OWN_DEFAULTS.get(name, default(task, name)))
        same = float(own) == value if option.type != b"s" else own == (value or "")
        check(same, f"{where}default {value}, the library's is {own}")


def test_mnemonics():
    """No letter twice in a dialog. GIMP's own: Reset, Cancel, OK, Load, Save, Help; and Advanced settings."""
    for name in (GENERATE, IMG2IMG, INPAINT, OUTPAINT, "plug-in-pentimento-teach"):
        specs = Gimp.get_pdb().lookup_procedure(name).get_arguments()[3:]
        letters = [spec.get_nick().split("_", 1)[1][0].lower() for spec in specs if spec.name not in {"run-mode", "image"}]
        check(len(letters) == len(specs), f"{name}: {letters}")
        check(sorted(letters) == sorted(set(letters)) and not set(letters) & set("rcolsv"), f"{name}: {letters}")


def test_generate():
    compare(GENERATE, 0)


def test_img2img():
    compare(IMG2IMG, 1)


def test_inpaint():
    compare(INPAINT, 2)


def test_outpaint():
    """What is not there yet is made from nothing."""
    compare(OUTPAINT, 2, without={"strength"})
