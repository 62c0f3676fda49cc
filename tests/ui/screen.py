"""Keys, clicks and pictures of the screen, for tests in a GIMP with windows."""
import subprocess
import time

from harness import *

DEFAULT_MODEL = os.path.join(os.environ["TEST_HERE"], "..", "..", "data", "models", "default")
EXTEND, FILL, MAKE, MODELS, REIMAGINE, TEACH = range(6)  # places of the entries in the English submenu


def xdotool(*words):
    return subprocess.run(["xdotool", *map(str, words)], capture_output=True, text=True).stdout.split()


def keys(*names):
    for name in names:
        xdotool("key", name)
        time.sleep(0.15)


def shot(name):
    folder = os.environ.get("TEST_SHOTS")
    if folder:
        subprocess.run(["import", "-window", "root", os.path.join(folder, name + ".png")])


def wait_for(what, condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            shot("failed")
            check(False, f"waited {seconds} s in vain for {what}")
        time.sleep(0.1)


def show(image):
    """Opens a window on the image and gives it the keyboard."""
    display = Gimp.Display.new(image)
    Gimp.displays_flush()
    gimp_window()
    time.sleep(1)
    xdotool("windowsize", "--sync", gimp_window(), 1260, 850)
    focus_gimp()
    return display


def gimp_window():
    """Searched for more than once: a search fails where another window goes meanwhile."""
    found = []
    wait_for("GIMP's window", lambda: found.extend(xdotool("search", "--onlyvisible", "--name", "GIMP")) or found)
    return found[0]


def focus_gimp():
    xdotool("windowactivate", "--sync", gimp_window())
    time.sleep(0.3)


def choose(entry):
    """Filters, the last submenu (ours, after GIMP's own), the entry by its place."""
    focus_gimp()
    keys("alt+r", "Up", "Right", *["Down"] * entry)
    shot("menu")
    keys("Return")


def dialog(title, seconds=20):
    wait_for(f"the dialog {title}", lambda: xdotool("search", "--onlyvisible", "--name", f"^{title}$"), seconds)
    time.sleep(0.5)
    xdotool("windowactivate", "--sync", xdotool("search", "--onlyvisible", "--name", f"^{title}$")[0])
    time.sleep(0.3)


def read_messages():
    """Closes what GIMP tells of work that is over: it would come to the front in the midst of the next."""
    for _ in range(5):
        time.sleep(1)
        if not xdotool("search", "--onlyvisible", "--name", "^GIMP Message$"):
            return
        dialog("GIMP Message")
        keys("Return")


def told():
    """Waits until the open dialog has been told all it asks the worker: nobody is connected to that for a while."""
    socket = os.environ["PENTIMENTO_WORKER_SOCKET"]
    since = time.monotonic()

    def quiet():
        nonlocal since
        lines = [line.split() for line in open("/proc/net/unix")]
        if not processes(WORKER) or any(line[-1] == socket and line[5] == "03" for line in lines):
            since = time.monotonic()
        return time.monotonic() - since > 2

    wait_for("what the worker tells the dialog", quiet)


def write(text):
    xdotool("type", "--delay", "20", text)


def browser():
    """A file in which the addresses appear that are opened in the user's browser."""
    opened = os.path.join(os.environ["TEST_FOLDER"], "opened")
    open(opened, "w").close()
    applications = os.path.join(os.environ["XDG_DATA_HOME"], "applications")
    os.makedirs(applications, exist_ok=True)
    os.makedirs(os.environ["XDG_CONFIG_HOME"], exist_ok=True)
    with open(os.path.join(applications, "browser.desktop"), "w") as file:
        file.write("[Desktop Entry]\nType=Application\nName=Browser\nMimeType=text/html;\n"
                   f"Exec=sh -c 'echo \"$0\" >>{opened}' %u\n")
    with open(os.path.join(os.environ["XDG_CONFIG_HOME"], "mimeapps.list"), "w") as file:
        file.write("[Default Applications]\ntext/html=browser.desktop\n")
    return opened


def pick(title, path):
    """Writes a path into the open file chooser and accepts it."""
    dialog(title)
    keys("ctrl+l", "ctrl+a")
    write(path)
    until = time.monotonic() + 20
    while xdotool("search", "--onlyvisible", "--name", f"^{title}$") and time.monotonic() < until:
        keys("Return")  # the first may only complete what was written
        time.sleep(1)  # else one too many might reach the dialog below


def set_steps(number):
    """Opens the advanced settings and writes the number of steps."""
    keys("alt+v", "alt+e", "ctrl+a")
    write(str(number))
    keys("Tab")


def set_pictures(number):
    keys("alt+b", "ctrl+a")
    write(str(number))
    keys("Tab")


def begin_long_picture(image, pictures=1):
    """A thousand steps of Reimagine; waits for the window with the preview, and for a preview to keep."""
    choose(REIMAGINE)
    dialog("Reimagine")
    write("a wooden table")
    keys("alt+t", "ctrl+a")
    write("0.9")  # else as many steps are made as an earlier test has left it
    keys("Tab", "alt+m", "Home")
    set_pictures(pictures)
    set_steps(1000)
    keys("alt+o")
    dialog("Reimagine: at work")
    time.sleep(4)


def models():
    """The default model under another name, in the user's folder."""
    folder = os.path.join(os.environ["XDG_DATA_HOME"], "pentimento", "models")
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, "another")):
        os.symlink(os.path.realpath(DEFAULT_MODEL), os.path.join(folder, "another"))


def private(name):
    """What an unfinished teaching has left: names of its files."""
    folder = os.path.join(os.environ["XDG_CACHE_HOME"], "pentimento", "teach", name)
    return [file for _, _, files in os.walk(folder) for file in files]


def last_used_file():
    return os.path.join(os.environ["XDG_STATE_HOME"], "pentimento", "last-used")


def content(image):
    """state() without GIMP's own record of last-used values, which is no part of the picture."""
    return [part for number, part in enumerate(state(image)) if number != 4]


def result_in(image, layers=2):
    """Waits for the new layer, so that there are so many, and until the plug-in that made it has ended and GIMP has taken note.

    GIMP keeps the layer a plug-in returned until then, but not its image: where the image is deleted in
    between, GIMP reads the image's freed memory when it drops the layer (gimp_item_finalize), at the latest
    when it quits.
    """
    wait_for("the result", lambda: len(image.get_layers()) == layers)
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 20)
    time.sleep(0.5)
    return image.get_layers()[0]
