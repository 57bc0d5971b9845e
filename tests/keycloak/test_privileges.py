"""What `driftline privileges --as keycloak` writes, run at a real Keycloak by its own kcadm: the roles that went unused are gone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stream.core.judge import Judge
from stream.offline.privilege_diffs import Names, clients, keycloak
from stream.offline.privileges import Enough, report
from stream.policy import Credentials
from tests import builders as b
from tests.keycloak.server import ADMIN, ADMIN_PASSWORD, REALM, Keycloak, claims, distribution, secret

pytestmark = [pytest.mark.keycloak, pytest.mark.slow, pytest.mark.timeout(900)]

CLIENT = "Batch-Two"
"""With capitals, which the name of its service account does not have."""
NAMES = Names.model_validate({
    "version": 1,
    "brokers": {
        "sso": {
            "provider": "keycloak",
            "realm": REALM,
            "clients": {"batch": CLIENT},
            "roles": {
                "notes:read": {"client": "bank-api", "role": "reader"},
                "notes:send": {"client": "bank-api", "role": "it's \"the\" sender"},
                "shell": {"role": "operator"},
            },
        }
    },
})  # fmt: skip


def judge() -> Judge:
    release = b.release(scorer=b.ConstantScorer(0))
    lists = {"sso": {"notes:read": ["read_file"], "notes:send": ["send_email"], "shell": ["run_shell"]}}
    policy = release.policy.model_copy(update={"credentials": Credentials(scopes=lists)})
    return b.judge(release._replace(policy=policy))


def script() -> str:
    """Of an agent that was granted three roles and only ever read."""
    held = {"broker": "sso", "kind": "jti", "value": "t-1", "scope": "notes:read notes:send shell"}
    values = [
        b.declared(agent={"id": "batch"}, credentials=[held]),
        b.called(seq=1, credential={"broker": "sso", "kind": "jti", "value": "t-1"}),
    ]
    made = report([(record, None) for record in b.log(values)], judge(), Enough(1, 1))
    return "\n".join(keycloak(clients(made, "keycloak", NAMES), NAMES)) + "\n"


def granted(server: Keycloak) -> set[str]:
    """The roles that a new token of the agent's own has, of the realm and of the bank."""
    told = claims(server.client_credentials(CLIENT).access)
    bank: dict[str, Any] = told.get("resource_access", {}).get("bank-api", {})
    return set(told.get("realm_access", {}).get("roles", ())) | set(bank.get("roles", ()))


def test_roles_that_went_unused_are_taken_and_the_others_stay(keycloak: Keycloak, tmp_path: Path) -> None:
    own = {
        "clientId": CLIENT,
        "secret": secret(CLIENT),
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
    }
    assert keycloak.realm_admin("POST", "clients", own).status == 201
    bank, batch = (
        keycloak.realm_admin("GET", f"clients?clientId={name}").json[0]["id"] for name in ("bank-api", CLIENT)
    )
    account = keycloak.realm_admin("GET", f"clients/{batch}/service-account-user").json["id"]
    for path, mapping, roles in (
        (f"clients/{bank}/roles", f"users/{account}/role-mappings/clients/{bank}", ("reader", "it's \"the\" sender")),
        ("roles", f"users/{account}/role-mappings/realm", ("operator",)),
    ):  # fmt: skip
        for role in roles:
            assert keycloak.realm_admin("POST", path, {"name": role}).status == 201
        wanted = [role for role in keycloak.realm_admin("GET", path).json if role["name"] in roles]
        assert keycloak.realm_admin("POST", mapping, wanted).status == 204
    before = granted(keycloak)
    assert {"reader", 'it\'s "the" sender', "operator"} <= before

    program = distribution() / "bin"
    told = os.environ | {"PATH": f"{program}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    login = ["config", "credentials", "--server", keycloak.url, "--realm", "master", "--user", ADMIN]
    subprocess.run(
        [program / "kcadm.sh", *login, "--password", ADMIN_PASSWORD],
        env=told,
        check=True,
        capture_output=True,
    )
    done = subprocess.run(["sh", "-"], input=script(), env=told, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert granted(keycloak) == before - {'it\'s "the" sender', "operator"}
