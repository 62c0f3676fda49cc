"""What was last asked, as Repeat takes it from the user's file, which may be of another version, or damaged."""
from harness import *

PATH = os.path.join(os.environ["XDG_STATE_HOME"], "pentimento", "last-used")


def repeated(content):
    """How a layer was made by Repeat after what the file says."""
    os.makedirs(os.path.dirname(PATH), exist_ok=True)
    open(PATH, "wb").write(content)
    image, layer = photo()
    pdb = Gimp.get_pdb()
    config = pdb.lookup_procedure(IMG2IMG).create_config()
    config.set_property("run-mode", Gimp.RunMode.WITH_LAST_VALS)
    config.set_property("image", image)
    config.set_core_object_array("drawables", [layer])
    answer = Answer(pdb.lookup_procedure(IMG2IMG).run(config))
    check(answer.ok, f"Repeat failed: {answer.message}")
    check(open(PATH, "rb").read() == content, "what was asked stays")
    return {**settings(answer.layer), **prompts(answer.layer)}


def test_as_asked():
    made = repeated("""[plug-in-pentimento-inpaint]
steps=1000

[plug-in-pentimento-img2img]
prompt=two\\nlines of ĉoffee
steps=3
guidance=1.5
sampler=euler
strength=0.25
seed=77
""".encode())
    wanted = {"prompt": "two\nlines of ĉoffee", "negative-prompt": "", "steps": 3, "guidance": 1.5, "sampler": "euler",
              "strength": 0.25, "seed": 77, "schedule": "model"}
    check({name: made[name] for name in wanted} == wanted, f"as the file has it, what it has not by default: {made}")


def test_within_the_limits():
    made = repeated(b"""[plug-in-pentimento-img2img]
steps=-5
guidance=nan
strength=1e300
sampler=none such
schedule=karras
adapter-weight=much
variations=99999999999999999999
output=
image=7
run-mode=1
procedure=x
none such=1
""")
    check(made["steps"] == 1 and made["guidance"] == 4 and made["strength"] == 1 and made["sampler"] == "dpmpp-2m" and
          made["schedule"] == "karras", f"as near as may be: {made}")


def test_damaged():
    for content in (b"", b"\xff\xfe[[[", b"[plug-in-pentimento-img2img]\nprompt=\xff\nsteps=2\nguidance", bytes(1000)):
        made = repeated(content)
        check(made["prompt"] == "" and made["steps"] in (2, 20), f"{content}: {made}")
