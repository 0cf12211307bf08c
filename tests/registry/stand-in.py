#!/usr/bin/python3
"""Stands in for skopeo: speaks its proxy protocol and fails as scripted.

The script is script.json in the directory of this file. "bodies" has one entry for each request of a blob
of all processes, in order; the last one is for all further requests. An entry is a list of steps (see
body). "open" does the same for OpenImage: null, an error, the name of a file to wait for, or a list of log
lines, one every half a second. "initialize" is what happens to Initialize, "protocol" the version. Before
0.2.8, blobs are sent as GetBlob does it: FinishPipe waits for the end of the body, closes the pipe, and reports
the error. log gets one line for each start and request.
"""

import array
import fcntl
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "script.json")) as script:
    SCRIPT = json.load(script)


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


def reply(sock, value=None, fds=(), pipe=0, error="", code=""):
    answer = {"success": not error, "value": value, "pipeid": pipe, "error": error, "error_code": code}
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([json.dumps(answer).encode()], rights)
    for fd in fds:
        os.close(fd)


def sleep_for_ever():
    while True:
        time.sleep(1000)


def wait_for(name):
    while not os.path.exists(os.path.join(HERE, name)):
        time.sleep(0.01)


def body(steps, data):
    """Steps: ["send", text], ["wait", file beside this one], ["stall"], ["die"], ["error", code, message],
    ["drip", text] for a byte every tenth of a second. Returns code and message."""
    try:
        for step, *arguments in steps:
            if step == "send":
                os.write(data, arguments[0].encode())
            elif step == "drip":
                for letter in arguments[0]:
                    os.write(data, letter.encode())
                    time.sleep(0.1)
            elif step == "wait":
                wait_for(arguments[0])
            elif step == "stall":
                sleep_for_ever()
            elif step == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif step == "error":
                return arguments
    except BrokenPipeError:
        log("broken pipe")
        return ["EPIPE", "broken pipe"]
    return None


def send_raw(steps, data, errors):
    error = body(steps, data)
    if error:
        os.write(errors, json.dumps(dict(zip(("code", "message"), error, strict=True))).encode())
    os.close(errors)
    os.close(data)


def blob(sock, send):
    steps = entry("bodies")
    if steps and steps[0][0] == "refuse":
        return reply(sock, error=steps[0][2], code=steps[0][1])
    if steps and steps[0][0] == "silence":
        sleep_for_ever()
    if steps and steps[0][0] == "slow":
        time.sleep(0.2)
    return send(sock, steps)


def raw_blob(sock, steps):
    data, data_in = os.pipe()
    errors, errors_in = os.pipe()
    reply(sock, value=-1, fds=[data, errors])
    threading.Thread(target=send_raw, args=[steps, data_in, errors_in], daemon=True).start()


# Bodies of GetBlob that have not been finished, by their pipes.
UNFINISHED = {}


def checked_blob(sock, steps):
    data, data_in = os.pipe()
    ended = []
    thread = threading.Thread(target=lambda: ended.append(body(steps, data_in)), daemon=True)
    UNFINISHED[data_in] = (thread, ended)
    reply(sock, value=-1, fds=[data], pipe=data_in)
    thread.start()


def finish(sock, pipe):
    """Answers at once for a manifest, whose pipe is closed already."""
    error = None
    if pipe in UNFINISHED:
        thread, ended = UNFINISHED.pop(pipe)
        thread.join()
        os.close(pipe)
        error = ended[0]
    # This version has no codes.
    reply(sock, error=error[1] if error else "")


# The number of the pipe of manifests, which no other one has.
MANIFEST = 1 << 16


def manifest(sock):
    content = json.dumps(SCRIPT["manifest"]).encode()
    data, data_in = os.pipe()
    os.write(data_in, content)
    os.close(data_in)
    reply(sock, value="sha256:" + hashlib.sha256(content).hexdigest(), fds=[data], pipe=MANIFEST)


def main():
    if "--version" in sys.argv:
        print("skopeo version 1.99.0 stand-in")
        return
    log("start", os.getpid(), *sys.argv[1:])
    sock = socket.socket(fileno=0)
    images = 0
    while request := sock.recv(32 * 1024):
        request = json.loads(request)
        method = request["method"]
        log(method)
        if method == "Initialize":
            if SCRIPT.get("initialize") == "silence":
                sleep_for_ever()
            reply(sock, value=SCRIPT.get("protocol", "0.2.8"))
        elif method == "OpenImage":
            error = entry("open") if "open" in SCRIPT else None
            if isinstance(error, str):
                wait_for(error)
                error = None
            elif error and len(error) != 2:
                for line in error:
                    print(line, file=sys.stderr, flush=True)
                    time.sleep(0.5)
                error = None
            if error:
                reply(sock, error=error[1], code=error[0])
            else:
                images += 1
                reply(sock, value=images)
        elif method == "GetRawBlob":
            blob(sock, raw_blob)
        elif method == "GetBlob":
            blob(sock, checked_blob)
        elif method == "FinishPipe":
            finish(sock, request["args"][0])
        elif method == "GetManifest" and "manifest" in SCRIPT:
            manifest(sock)
        else:
            reply(sock)


main()
