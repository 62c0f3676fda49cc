"""Teach while the worker has other work, in a GIMP of its own: nothing was asked in it before."""
from harness import *
from screen import *


def test_teach_while_the_worker_is_busy():
    """With another model than that of the job at work, the teaching waits in its window, which can be cancelled."""
    models()
    image, layer = photo(480, 400)  # takes minutes: between pictures, and after one, questions are answered
    display = show(image)
    read_messages()
    begin_long_picture(image)
    picture, = processes(PLUG_IN)
    for key in "alt+c", "Escape":
        choose(TEACH)
        dialog("Teach")
        write("busy")
        keys("alt+m", "Home", "Down")
        time.sleep(2)
        keys("alt+t")
        dialog("Teaching “busy”", 5)
        shot("teach-busy")
        keys("alt+p", "Return")
        time.sleep(1)
        check(len(processes(PLUG_IN)) == 2, "it waits, and cannot be paused")
        keys(key)
        wait_for("the end of the teaching", lambda: processes(PLUG_IN) == [picture], 5)
    check(not private("busy"), "nothing was begun")
    dialog("Reimagine: at work")
    keys("alt+c")
    wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)
    display.delete()
