"""Teach while the worker has other work, in a GIMP of its own: nothing was asked in it before. A worker that is stopped."""
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


def test_worker_stopped_in_the_midst():
    """The window says after a while that nothing is heard of it; Cancel works even so, and the worker goes on when it may."""
    image, layer = photo(480, 400)
    display = show(image)
    read_messages()
    before = content(image)
    begin_long_picture(image)
    worker, = processes(WORKER)
    os.kill(worker, signal.SIGSTOP)
    try:
        time.sleep(13)
        shot("worker-stopped")
        os.kill(worker, signal.SIGCONT)
        time.sleep(6)
        shot("worker-continued")
        os.kill(worker, signal.SIGSTOP)
        time.sleep(13)
        dialog("Reimagine: at work")
        keys("alt+c")
        wait_for("the end of the plug-in", lambda: not processes(PLUG_IN), 5)
    finally:
        os.kill(worker, signal.SIGCONT)
    check(content(image) == before, "the image is as it was")
    call_ok(IMG2IMG, image, [layer])
    check(processes(WORKER) == [worker], "the same worker serves on")
    display.delete()
