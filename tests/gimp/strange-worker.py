"""strange-worker.py SOCKET VERSION   speaks as pentimento-worker of that version does (core/worker/protocol.h), and answers
Run with regular files in place of memory files. Prints "listens" once it does."""
import os
import sys
import tempfile

from gi.repository import Gio, GLib

XML = """<node><interface name="org.pentimento.Worker">
<method name="Hello"><arg type="u" direction="in"/><arg type="u" direction="out"/><arg type="s" direction="out"/></method>
<method name="Run"><arg type="u" direction="in"/><arg type="s" direction="in"/><arg type="a{sv}" direction="in"/>
<arg type="a{sh}" direction="in"/><arg type="a{sv}" direction="out"/><arg type="a{sh}" direction="out"/></method>
<method name="Quit"/></interface></node>"""
info = Gio.DBusNodeInfo.new_for_xml(XML)
loop = GLib.MainLoop()
connections = []


def answer(options, invocation):
    width, height = options["picture-width"], options["picture-height"]
    files = Gio.UnixFDList.new()
    for bytes_each in 16, 4:
        with tempfile.TemporaryFile() as file:
            file.truncate(width * height * bytes_each)
            files.append(file.fileno())
    window = {name: GLib.Variant("i", value) for name, value in
              {"x": 0, "y": 0, "width": width, "height": height}.items()}
    invocation.return_value_with_unix_fd_list(
        GLib.Variant("(a{sv}a{sh})", (window, {"pixels": 0, "alpha": 1})), files)


def on_call(connection, sender, path, interface, method, parameters, invocation):
    if method == "Hello":
        invocation.return_value(GLib.Variant("(us)", (parameters.unpack()[0], sys.argv[2])))
    elif method == "Run":
        answer(parameters.unpack()[2], invocation)
    else:
        invocation.return_value(None)


def on_connection(server, connection):
    connection.register_object("/org/pentimento/Worker", info.interfaces[0], on_call, None, None)
    connections.append(connection)
    return True


if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
server = Gio.DBusServer.new_sync("unix:path=" + sys.argv[1], Gio.DBusServerFlags.NONE, Gio.dbus_generate_guid(), None, None)
os.chmod(sys.argv[1], 0o600)
server.connect("new-connection", on_connection)
server.start()
print("listens", flush=True)
loop.run()
