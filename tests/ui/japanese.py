"""With GIMP in Japanese the dialog, the layer's name and the refusals are Japanese."""
import teach

from harness import *
from screen import *

MODELS, EXTEND, TEACH, MAKE, FILL, REIMAGINE = range(6)  # places of the entries in the submenu


def test_japanese():
    image, layer = photo(120, 100)
    feathered(image)
    check(teach.teach(image, [layer], name="私のカップ", description="コーヒー").ok, "taught")
    display = show(image)
    choose(REIMAGINE)
    dialog("描き変え")
    write("coffee")
    told()
    keys("alt+y", "Down")
    shot("japanese-adapter")
    keys("alt+v", "alt+e", "ctrl+a")
    write("2")
    keys("Tab")
    shot("japanese")
    keys("alt+o")
    made = result_in(image)
    check(made.get_name().startswith("描き変え、シード "), made.get_name())
    check(settings(made)["lora"] == ["私のカップ:1"], "what was taught is chosen")
    display.delete()


def test_japanese_preview():
    image, layer = photo(120, 100)
    feathered(image)
    display = show(image)
    choose(REIMAGINE)
    dialog("描き変え")
    write("coffee")
    keys("alt+v", "alt+e", "ctrl+a")
    write("1000")
    keys("Tab", "alt+o")
    dialog("描き変え: 作成中")
    time.sleep(4)
    shot("japanese-preview")
    keys("alt+s")
    check("steps-taken" in settings(result_in(image)), "stopped and kept")
    display.delete()


def test_japanese_extend():
    image, layer = photo(120, 100)
    display = show(image)
    choose(EXTEND)
    dialog("画像を広げる")
    keys("alt+i", "Down", "alt+v", "alt+e", "ctrl+a")
    write("2")
    keys("Tab")
    shot("japanese-extend")
    keys("alt+o")
    made = result_in(image)
    check(made.get_name().startswith("画像を広げる、シード ") and image.get_width() == 184, made.get_name())
    display.delete()


def test_japanese_teach():
    image, layer = photo(120, 100)
    display = show(image)
    choose(TEACH)
    dialog("教える")
    write("cup")
    time.sleep(4)  # for the estimate
    shot("japanese-teach")
    keys("alt+t")
    dialog("「cup」を教えています")
    time.sleep(10)
    shot("japanese-teaching")
    keys("Escape")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 10)
    display.delete()


def test_japanese_help():
    """In Japanese, too; the button has no mnemonic, whose letter would be taken."""
    opened = browser()
    image, layer = photo(120, 100)
    display = show(image)
    choose(EXTEND)
    dialog("画像を広げる")
    shot("japanese-help")
    keys("F1")
    wait_for("the page", lambda: "/help/ja/index.html#extend" in open(opened).read(), 20)
    keys("Escape")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)
    display.delete()


def test_japanese_refusals():
    """Last, since GIMP shows them in a window that stays."""
    image, layer = photo(120, 100)
    answer = call(INPAINT, image, [layer])
    check("選択されていません" in answer.message, f"a refusal in Japanese: {answer.message}")
    answer = call(IMG2IMG, image, [layer], model="no-such-model")
    check("no-such-model" in answer.message and answer.message.endswith("。"), f"so is the worker's: {answer.message}")
    feathered(image, radius=0)
    floating = Gimp.Selection.float(image, [layer], 3, 3)
    answer = call(IMG2IMG, image, [floating])
    check("(Anchor Floating Layer or Mask)" in answer.message, f"as GIMP's menu has it: {answer.message}")


def test_japanese_terms():
    learn = Gimp.get_pdb().lookup_procedure(INPAINT).find_argument("learn").get_blurb()
    check("既定のモデル" in learn and "背景" in learn and "スタイル" in learn, learn)
    quality = Gimp.get_pdb().lookup_procedure(INPAINT).find_argument("quality")
    check(Gimp.param_spec_choice_get_choice(quality).get_label("good") == "中 (約 2 倍速い)", "as in other texts")


def test_japanese_models():
    show(photo(120, 100)[0])
    choose(MODELS)
    dialog("モデル")
    told()
    shot("japanese-models")
    keys("alt+l")
    shot("japanese-licence")
    keys("alt+c")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 10)
