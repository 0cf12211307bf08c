#!/usr/bin/python3
"""Stands in for skopeo: speaks its proxy protocol and fails as scripted.

The script is script.json in the directory of this file. "bodies" has one entry for each GetRawBlob request
of all processes, in order; the last one is for all further requests. An entry is a list of steps (see
body). "open" does the same for OpenImage: null, an error, or the name of a file to wait for. "initialize"
is what happens to Initialize. log gets one line for each start and request.
"""

import array
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = json.load(open(os.path.join(HERE, "script.json")))


def log(*words):
    with open(os.path.join(HERE, "log"), "a") as file:
        print(*words, file=file)


def number(name):
    """How many requests of this name there were before, of all processes."""
    with open(os.path.join(HERE, name + ".count"), "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = len(file.read())
        file.write(".")
        return before


def entry(name):
    entries = SCRIPT[name]
    return entries[min(number(name), len(entries) - 1)]


def reply(sock, value=None, fds=(), error="", code=""):
    answer = {"success": not error, "value": value, "pipeid": 0, "error": error, "error_code": code}
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([json.dumps(answer).encode()], rights)
    for fd in fds:
        os.close(fd)


def sleep_for_ever():
    while True:
        time.sleep(1000)


def body(steps, data, errors):
    """Steps: ["send", text], ["stall"], ["die"], ["error", code, message]."""
    try:
        for step, *arguments in steps:
            if step == "send":
                os.write(data, arguments[0].encode())
            elif step == "stall":
                sleep_for_ever()
            elif step == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif step == "error":
                os.write(errors, json.dumps({"code": arguments[0], "message": arguments[1]}).encode())
    except BrokenPipeError:
        log("broken pipe")
    os.close(errors)
    os.close(data)


def raw_blob(sock):
    steps = entry("bodies")
    if steps and steps[0][0] == "refuse":
        return reply(sock, error=steps[0][2], code=steps[0][1])
    if steps and steps[0][0] == "silence":
        sleep_for_ever()
    data, data_in = os.pipe()
    errors, errors_in = os.pipe()
    reply(sock, value=-1, fds=[data, errors])
    threading.Thread(target=body, args=[steps, data_in, errors_in], daemon=True).start()


def main():
    if "--version" in sys.argv:
        print("skopeo version 1.99.0 stand-in")
        return
    log("start", os.getpid(), *sys.argv[1:])
    sock = socket.socket(fileno=0)
    images = 0
    while request := sock.recv(32 * 1024):
        method = json.loads(request)["method"]
        log(method)
        if method == "Initialize":
            if SCRIPT.get("initialize") == "silence":
                sleep_for_ever()
            reply(sock, value=SCRIPT.get("protocol", "0.2.8"))
        elif method == "OpenImage":
            error = entry("open") if "open" in SCRIPT else None
            if isinstance(error, str):
                while not os.path.exists(os.path.join(HERE, error)):
                    time.sleep(0.01)
                error = None
            if error:
                reply(sock, error=error[1], code=error[0])
            else:
                images += 1
                reply(sock, value=images)
        elif method == "GetRawBlob":
            raw_blob(sock)
        else:
            reply(sock)


main()
