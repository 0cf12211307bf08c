"""`dnf5-oci run`: a command reaches repositories without bus and systemd."""

import re
import signal
import subprocess

import pexpect
import pytest

from conftest import NO_BUS
from harness import proxy as http_proxy
from harness import secrets
from harness.commands import processes, run, wait_until
from harness.programs import HOST
from harness.proxy import Proxy
from harness.service import settings
from harness.users import PASSWORD, User

REPOMD = "repodata/repomd.xml"
CURL = ("curl", "--silent", "--show-error", "--fail")
PROXY = re.compile(r"http_proxy=(socks5h://([0-9a-f]{32}):-@127\.0\.0\.1:\d+)\n")


def run_command(*command, **how):
    return run("dnf5-oci", "run", "--", *command, **{"env": NO_BUS, **how})


def test_a_program_gets_what_its_url_names(registry, pushed, url):
    result = run_command(*CURL, f"{url}/one-1-1.noarch.rpm", "--output", "/dev/null", f"{url}/{REPOMD}")
    assert result.output == (pushed.directory / REPOMD).read_text()
    assert len(registry.manifests()) == 1
    assert processes("dnf5-oci", "run") == processes("skopeo", "experimental-image-proxy") == []


@pytest.mark.parametrize("program", ["dnf-3", "dnf5"])
def test_a_package_manager_installs(dnf, url, installed, program):
    dnf.add("tools", url)
    installed.append("one")
    run_command(program, "-y", "--repo=tools", "install", "one").has("Complete!")
    run("rpm", "-q", "one").has("one-1-1.noarch")


def test_dnf5_has_its_plugin_as_well(dnf, registry, pushed, installed):
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    installed.append("one")
    run_command("dnf5", "-y", "install", "one").has("Complete!")


def test_the_exit_status_is_that_of_the_command(tmp_path):
    run_command("true")
    run_command("sh", "-c", "exit 7", code=7)
    run_command("sh", "-c", "kill -TERM $$", code=128 + signal.SIGTERM)
    run_command("no-such-command", code=127).has("error: running no-such-command failed: No such file or directory")
    run_command(tmp_path, code=126).has(f"error: running {tmp_path} failed: Permission denied")
    run("dnf5-oci", "run", code=2).has("<COMMAND>")


def test_options_and_streams_are_those_of_the_command():
    assert run("dnf5-oci", "run", "echo", "--help", "-y").output == "--help -y\n"
    assert run_command("cat", answer="input\n").output == "input\n"


def test_what_has_failed_is_printed_at_the_end(dnf, registry, url):
    missing = f"{dnf.reference(registry, 'missing')}"
    output = run_command("sh", "-c", f"curl -sS {HOST}/{missing}/{REPOMD} -o /dev/null; exit 3", code=3).output
    assert re.fullmatch(f"error: oci://{missing}: .*manifest unknown.*\n", output), output
    run_command("sh", "-c", f"curl -sS {HOST}/{missing}/{REPOMD} -o /dev/null").has_not("error")
    run_command(*CURL, f"{HOST}/quay.io/acme/rpms/{REPOMD}", code=22).has("error: invalid URL").has("no tag or digest")
    # Only the last line counts if it has been tried again.
    run_command("sh", "-c", f"{' '.join(CURL)} {url}/{REPOMD} -o /dev/null; exit 1", code=1).has_not("error")


def start(*command):
    """A command on a terminal."""
    return pexpect.spawn("dnf5-oci", ["run", "--", *command], encoding="utf-8", timeout=60)


def test_ctrl_c_is_for_the_command():
    running = start("sh", "-c", 'trap "echo caught; exit 9" INT; echo ready; while :; do sleep 0.1; done')
    running.expect("ready")
    running.sendintr()
    running.expect("caught")
    running.expect(pexpect.EOF)
    running.close()
    assert running.exitstatus == 9


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_are_passed_on(sent):
    command = f'trap "echo caught; exit 9" {sent.name[3:]}; echo ready; while :; do sleep 0.1; done'
    running = subprocess.Popen(["dnf5-oci", "run", "sh", "-c", command], stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(sent)
    assert (running.communicate(timeout=30)[0], running.returncode) == ("caught\n", 9)


def test_a_killed_one_leaves_no_skopeo(front, dnf, pushed):
    """The command itself goes on, as after a killed sudo."""
    front.half_sent = lambda digest: wait_until(lambda: not processes("dnf5-oci", "run"), "it was killed")
    running = subprocess.Popen(
        ["dnf5-oci", "run", *CURL, f"{HOST}/{dnf.reference(front)}/one-1-1.noarch.rpm", "--output", "/dev/null"])
    wait_until(lambda: processes("skopeo", "experimental-image-proxy"), "skopeo runs")
    running.kill()
    running.wait()
    wait_until(lambda: not processes("skopeo", "experimental-image-proxy"), "skopeo has ended")


def test_only_who_knows_the_secret_is_served(url):
    with subprocess.Popen(["dnf5-oci", "run", "sh", "-c", "env; echo end; cat"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as running:
        lines = iter(running.stdout.readline, "end\n")
        proxy, secret = next(found.groups() for line in lines if (found := PROXY.fullmatch(line)))
        command = [*CURL, f"{url}/{REPOMD}"]
        run(*command, "--proxy", proxy).has("<repomd")
        for other in ("", "x:-@", f"{secret[::-1]}:-@"):
            run(*command, "--proxy", proxy.replace(f"{secret}:-@", other), code=97)
        running.stdin.close()
        running.wait()


def test_the_secret_is_in_no_log(url):
    output = run_command("sh", "-c", f"env; {' '.join(CURL)} {url}/{REPOMD}",
                         env=NO_BUS | {"DNF5_OCI_LOG": "trace"}).output
    [(_, secret)] = PROXY.findall(output)
    assert output.count(secret) == 1, "as printed by env"
    assert str(list(secret.encode())) not in output, "nor as a list of bytes"


def test_what_disables_the_proxy_is_an_error():
    for exceptions in ("*", "dnf5-oci.alt", "localhost, .alt"):
        result = run_command("echo", "not run", env=NO_BUS | {"no_proxy": exceptions}, code=1)
        assert result.output == ("error: no_proxy covers dnf5-oci.alt, which is reached through a proxy; unset "
                                 'no_proxy, or remove "*" from it\n')


@pytest.fixture
def tinyproxy(tmp_path):
    running = Proxy(tmp_path)
    yield running
    running.stop()


def test_other_hosts_are_reached_as_before(web, tmp_path, tinyproxy):
    (web.directory / "file").write_text("from elsewhere\n")
    host = web.url.removeprefix("http://")
    command = (*CURL, f"{web.url}/file")
    assert run_command(*command).output == "from elsewhere\n"
    assert tinyproxy.count(host) == 0
    proxy = http_proxy.URL.replace("//", f"//{http_proxy.USER}:{http_proxy.PASSWORD}@")
    environment = NO_BUS | {"http_proxy": proxy}
    assert run_command(*command, env=environment).output == "from elsewhere\n"
    assert tinyproxy.count(host) == 1
    assert run_command(*command, env=environment | {"no_proxy": "localhost"}).output == "from elsewhere\n"
    assert tinyproxy.count(host) == 1
    without_login = NO_BUS | {"http_proxy": http_proxy.URL}
    line = run_command(*command, env=without_login, code=97).output.splitlines()[-1]
    assert line == (f"error: connecting to {host.replace(':', ' port ')} failed: through the proxy localhost: "
                    "tunnel error: proxy authorization required")


def test_with_invalid_settings_nothing_is_run():
    with settings("proceses = 1\n"):
        run_command("echo", "not run", code=1).has('unknown key "proceses"').has_not("not run")


def test_an_ordinary_user_has_own_credentials(private_registry, pushed):
    secrets.register(PASSWORD, "user")
    user = User("runner")
    file = user.home / "auth.json"
    user.log_in(private_registry, file)
    reference = f"{private_registry.address}/acme/rpms:1"
    pushed.push(reference, options=("--username", "user", "--password", PASSWORD))
    command = ("dnf5-oci", "run", *CURL, f"{HOST}/{reference}/{REPOMD}")
    user.run(*command, REGISTRY_AUTH_FILE=file).has("<repomd")
    user.run(*command, code=22).has(f'run "podman login {private_registry.address}"')
