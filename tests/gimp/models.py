"""The names of the models, for scripts: what the argument "model" of the other procedures takes."""
from harness import *

FOLDER = os.path.join(os.environ["XDG_DATA_HOME"], "pentimento", "models")
DEFAULT_MODEL = os.path.join(os.environ["TEST_HERE"], "..", "..", "data", "models", "default")


def names():
    procedure = Gimp.get_pdb().lookup_procedure("plug-in-pentimento-models")
    config = procedure.create_config()
    config.set_property("run-mode", Gimp.RunMode.NONINTERACTIVE)
    values = procedure.run(config)
    check(values.index(0) == SUCCESS, f"failed: {Gimp.get_pdb().get_last_error()}")
    return values.index(1)


def test_names():
    before = names()
    check("default" not in before and "my drawings" not in before, f"{before}")
    os.makedirs(FOLDER)
    os.symlink(DEFAULT_MODEL, os.path.join(FOLDER, "my drawings"))
    check(names() == sorted([*before, "my drawings"]), "what came since is among them")
    call_ok(GENERATE, model="my drawings", width=64, height=64)
