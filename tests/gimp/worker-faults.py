"""The worker is missing, broken, strange, or dies; the plug-in is killed, which is what GIMP's Cancel does: the
image is byte for byte as it was, GIMP lives, and the next run works."""
from harness import *

LONG = {"steps": 1000, "guidance": 4.0}


def put_worker(target):
    link = os.environ["PENTIMENTO_WORKER"]
    os.unlink(link)
    os.symlink(target, link)


def program(name, text):
    path = os.path.join(os.environ["TEST_FOLDER"], name)
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o700)
    return path


def test_1_no_worker():
    """Before any worker runs."""
    image, layer = photo()
    for target, words in (("/nowhere/worker", ["cannot be started"]),
                          (program("full", "echo 'The disk is full: make room.' >&2; exit 1\n"), ["disk is full"]),
                          ("/bin/true", ["does not answer"])):
        put_worker(target)
        refused(IMG2IMG, image, [layer], words)
    put_worker(WORKER)
    folder = os.path.dirname(os.environ["PENTIMENTO_WORKER_SOCKET"])
    os.chmod(folder, 0o755)
    refused(IMG2IMG, image, [layer], [f"{folder} is not a private folder", "0700", "PENTIMENTO_WORKER_SOCKET"])
    os.chmod(folder, 0o700)
    call_ok(IMG2IMG, image, [layer])


def killed_run(what, delay, task, output, number=signal.SIGKILL):
    image, layer = photo(precision=Gimp.Precision.HALF_NON_LINEAR)
    feathered(image)
    before = state(image)
    killer = kill_later(what, delay, number)
    began = time.monotonic()
    answer = call(task, image, [layer], output=output, **LONG)
    check(killer.wait() == 0, "the run was over before it could be killed")
    check(not answer.ok, "a killed run reports no success")
    check(time.monotonic() - began < 30, "the call returns soon after")
    check(state(image) == before, "the image is byte for byte as it was")
    began = time.monotonic()
    call_ok(INPAINT, image, [layer])
    check(time.monotonic() - began < 15, "the next run does not wait for the dropped one")
    return answer


def test_2_plug_in_killed_in_mid_step():
    for delay, output in ((0.3, "new-layer"), (1.5, "replace")):
        killed_run("plug-in", delay, INPAINT, output)


def test_3_worker_killed_in_mid_step():
    """Or told to end, as by a guard against full memory: nobody has asked for that here."""
    for delay, output, number in ((0.3, "replace", signal.SIGKILL), (1.5, "new-layer", signal.SIGKILL),
                                  (1.5, "new-layer", signal.SIGTERM)):
        answer = killed_run("worker", delay, IMG2IMG, output, number)
        check("ended in the middle" in answer.message, f"the message says so: {answer.message}")
        log = re.search(r"stands in (.*)\.", answer.message)
        check(log and os.path.exists(log.group(1)), "and names a log that is there")


def test_4_a_worker_serves_on_after_kills():
    check(len(processes(WORKER)) == 1, f"one worker, not {len(processes(WORKER))}")
    check(not processes(PLUG_IN), "no plug-in is left behind")


class Strange:
    """In a with statement, a worker that is none of ours takes the place of the one that runs."""

    def __init__(self, version):
        self.version = version

    def __enter__(self):
        for worker in processes(WORKER):
            os.kill(worker, signal.SIGTERM)
        while processes(WORKER):
            time.sleep(0.05)
        script = os.path.join(os.environ["TEST_HERE"], "strange-worker.py")
        self.process = subprocess.Popen([PYTHON, script, os.environ["PENTIMENTO_WORKER_SOCKET"], self.version],
                                        stdout=subprocess.PIPE, start_new_session=True)
        check(self.process.stdout.readline() == b"listens\n", "it listens")

    def __exit__(self, *what):
        self.process.kill()
        self.process.wait()


def test_5_worker_of_another_version():
    """As after an upgrade: it makes room for ours."""
    image, layer = photo()
    with Strange("0.0.1"):
        call_ok(IMG2IMG, image, [layer])
        check(len(processes(WORKER)) == 1, "made by our worker")


def test_6_worker_that_answers_with_files():
    """They could be cut short while they are read, which would kill the reader."""
    version = subprocess.run([WORKER, "--version"], capture_output=True, text=True).stdout.split()[1].strip(",")
    image, layer = photo()
    with Strange(version):
        refused(IMG2IMG, image, [layer], ["not a picture of the right size"])
    os.unlink(os.environ["PENTIMENTO_WORKER_SOCKET"])
    call_ok(IMG2IMG, image, [layer])


def test_7_worker_that_is_stopped():
    """The system connects to it all the same: the run ends soon, and the next one works."""
    image, layer = photo()
    call_ok(IMG2IMG, image, [layer])
    worker, = processes(WORKER)
    os.kill(worker, signal.SIGSTOP)
    try:
        began = time.monotonic()
        refused(IMG2IMG, image, [layer], ["does not answer", "nothing came from it"])
        check(time.monotonic() - began < 60, "it ends soon")
    finally:
        os.kill(worker, signal.SIGCONT)
    call_ok(IMG2IMG, image, [layer])
