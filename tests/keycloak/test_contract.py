"""What whoever ends sessions at Keycloak relies on: which call ends what, what lives on, and what each answer means.

A client outside a token's ``aud`` is told ``active: false`` whatever the token, so each token is seen to stand before
it is seen to be dead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.keycloak.server import REALM, Keycloak, KeycloakError, Reply, Tokens, secret

# The first test of a run may have to fetch and build Keycloak, and each run starts it.
pytestmark = [pytest.mark.keycloak, pytest.mark.slow, pytest.mark.timeout(900)]

GONE = "Sesssion not found"
"""Keycloak's own spelling."""


def task(keycloak: Keycloak, user: Tokens) -> Tokens:
    """A task's token of this session, which the bank is told stands."""
    made = keycloak.exchange(user)
    assert keycloak.active(made)
    return made


@pytest.fixture
def alice(keycloak: Keycloak) -> Tokens:
    """A session of its own, whose token its agent is told stands."""
    made = keycloak.login("alice")
    assert keycloak.active(made, "agent")
    return made


@pytest.fixture
def bridge(keycloak: Keycloak) -> str:
    """The access token of the client that may end sessions."""
    return keycloak.client_credentials("driftline-bridge").access


def enabled(keycloak: Keycloak, path: str, value: bool) -> None:
    """Set `enabled` of a realm, client or user."""
    document = keycloak.realm_admin("GET", path).json | {"enabled": value}
    assert keycloak.realm_admin("PUT", path, document).status == 204


# Tokens and their sessions.


def test_a_task_has_the_session_of_its_user_and_names_no_actor(keycloak: Keycloak, alice: Tokens) -> None:
    made = task(keycloak, alice)
    assert made.session == alice.session == keycloak.introspect(made.access)["sid"]
    assert made.claims["azp"] == "agent"
    assert made.claims["aud"] == "bank-api"
    assert made.claims["sub"] == keycloak.user_id("alice")
    assert "act" not in made.claims
    assert made.refresh is None


def test_a_client_outside_the_audience_is_told_that_a_living_token_is_dead(
    keycloak: Keycloak, alice: Tokens
) -> None:
    assert keycloak.active(alice, "agent")
    assert not keycloak.active(alice, "bank-api")
    assert not keycloak.active(alice, "app")  # not even to whom it was issued


def test_a_token_of_a_clients_own_has_no_session(keycloak: Keycloak) -> None:
    batch = keycloak.client_credentials()
    assert keycloak.active(batch)
    assert "sid" not in keycloak.introspect(batch.access)
    with pytest.raises(KeycloakError, match="no sid"):
        _ = batch.session


# DELETE sessions/SID.


def test_a_deleted_session_takes_its_tasks_and_refresh_token_and_nothing_else(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    sibling, bob = keycloak.login("alice"), keycloak.login("bob")
    first, second = task(keycloak, alice), task(keycloak, alice)
    others = task(keycloak, sibling), task(keycloak, bob)
    assert keycloak.delete_session(alice.session, bearer=bridge).status == 204
    for dead, client in ((first, "bank-api"), (second, "bank-api"), (alice, "agent")):
        keycloak.wait_inactive(dead, client)
    refused = keycloak.refresh(alice)
    assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
    with pytest.raises(KeycloakError, match=r"400 .*Invalid token"):
        keycloak.exchange(alice)
    assert all(keycloak.active(other) for other in others)
    assert keycloak.refresh(sibling).status == keycloak.refresh(bob).status == 200
    assert keycloak.active(keycloak.login("alice"), "agent")  # no ban


def test_a_session_that_is_gone_or_never_was_answers_404(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    assert keycloak.delete_session(alice.session, bearer=bridge).status == 204
    for session in (alice.session, "never-was"):
        answer = keycloak.delete_session(session, bearer=bridge)
        assert (answer.status, answer.json["error"]) == (404, GONE)


def test_a_realm_that_is_not_there_answers_404_too_in_other_words(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    path = f"/admin/realms/elsewhere/sessions/{alice.session}"
    answer = keycloak.request("DELETE", path, headers={"Authorization": f"Bearer {bridge}"})
    assert (answer.status, answer.json["error"]) == (404, "Realm not found.")
    assert keycloak.active(alice, "agent")


def test_a_path_that_is_not_there_answers_404_and_never_in_the_words_for_what_is_gone(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    bearer = {"Authorization": f"Bearer {bridge}"}
    for path in (
        f"/auth/admin/realms/{REALM}/sessions/{alice.session}",
        f"/admin/realms/{REALM}/session/{alice.session}",
    ):
        answer = keycloak.request("DELETE", path, headers=bearer)
        assert answer.status == 404
        assert "ssion not found" not in answer.text
        assert "User not found" not in answer.text
    assert keycloak.active(alice, "agent")


def test_a_session_deleted_by_several_at_once_answers_each_204_or_404(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    made = task(keycloak, alice)
    answers: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: answers.append(keycloak.delete_session(alice.session, bearer=bridge)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert 204 in {answer.status for answer in answers} <= {204, 404}
    keycloak.wait_inactive(made)


# Offline sessions.


def test_an_offline_session_answers_404_and_lives_until_it_is_deleted_as_one(
    keycloak: Keycloak, bridge: str
) -> None:
    user = keycloak.offline("alice")
    made = task(keycloak, user)
    answer = keycloak.delete_session(user.session, bearer=bridge)
    assert (answer.status, answer.json["error"]) == (404, GONE)
    assert keycloak.active(made)
    assert keycloak.refresh(user).status == 200
    assert keycloak.delete_session(user.session, offline=True, bearer=bridge).status == 204
    keycloak.wait_inactive(made)
    assert keycloak.refresh(user).status == 400
    assert keycloak.delete_session(user.session, offline=True, bearer=bridge).status == 404


def test_an_online_session_deleted_as_an_offline_one_answers_404_and_lives(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    assert keycloak.delete_session(alice.session, offline=True, bearer=bridge).status == 404
    assert keycloak.active(alice, "agent")


@pytest.fixture
def both(keycloak: Keycloak) -> tuple[Tokens, Tokens, Tokens, Tokens]:
    """One session that is online and offline: tokens of either kind, and a task of each."""
    online, offline = keycloak.browser("alice")
    assert online.session == offline.session
    return online, offline, task(keycloak, online), task(keycloak, offline)


def test_a_session_that_is_both_lives_on_offline_though_its_deletion_answered_204(
    keycloak: Keycloak, both: tuple[Tokens, Tokens, Tokens, Tokens], bridge: str
) -> None:
    online, offline, first, second = both
    assert keycloak.delete_session(online.session, bearer=bridge).status == 204
    keycloak.wait_inactive(first)
    assert keycloak.refresh(online).status == 400
    assert keycloak.delete_session(online.session, bearer=bridge).status == 404
    assert keycloak.active(second)
    assert keycloak.refresh(offline).status == 200
    assert keycloak.delete_session(online.session, offline=True, bearer=bridge).status == 204
    keycloak.wait_inactive(second)
    assert keycloak.refresh(offline).status == 400


def test_a_session_that_is_both_is_gone_once_it_is_deleted_as_an_offline_one(
    keycloak: Keycloak, both: tuple[Tokens, Tokens, Tokens, Tokens], bridge: str
) -> None:
    online, offline, first, second = both
    assert keycloak.delete_session(online.session, offline=True, bearer=bridge).status == 204
    keycloak.wait_inactive(first)
    keycloak.wait_inactive(second)
    assert keycloak.refresh(online).status == keycloak.refresh(offline).status == 400
    assert keycloak.delete_session(online.session, bearer=bridge).status == 404


# RFC 7009.


@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token"])
def test_a_revoked_task_token_dies_alone(keycloak: Keycloak, alice: Tokens, hint: str | None) -> None:
    made, other = task(keycloak, alice), task(keycloak, alice)
    for _ in range(2):  # a repeat is answered the same
        answer = keycloak.revoke(made.access, "agent", hint)
        assert (answer.status, answer.text) == (200, "")
        keycloak.wait_inactive(made)
    assert keycloak.active(other)
    assert keycloak.active(alice, "agent")
    assert keycloak.refresh(alice).status == 200


def test_a_revoked_access_token_leaves_refresh_token_session_and_tasks(
    keycloak: Keycloak, alice: Tokens
) -> None:
    made = task(keycloak, alice)
    assert keycloak.revoke(alice.access, "app").status == 200
    keycloak.wait_inactive(alice, "agent")
    assert keycloak.active(made)
    refreshed = keycloak.refresh(alice)
    assert refreshed.status == 200
    assert keycloak.active(Tokens("app", refreshed.json["access_token"]), "agent")


def test_a_revoked_refresh_token_takes_its_whole_session(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    made, sibling = task(keycloak, alice), task(keycloak, keycloak.login("alice"))
    assert alice.refresh is not None
    assert keycloak.revoke(alice.refresh, "app").status == 200
    keycloak.wait_inactive(made)
    keycloak.wait_inactive(alice, "agent")
    assert keycloak.refresh(alice).status == 400
    assert keycloak.delete_session(alice.session, bearer=bridge).status == 404
    assert keycloak.active(sibling)


def test_a_revoked_offline_token_takes_its_offline_session(keycloak: Keycloak, bridge: str) -> None:
    user = keycloak.offline("alice")
    made = task(keycloak, user)
    assert user.refresh is not None
    assert keycloak.revoke(user.refresh, "app").status == 200
    keycloak.wait_inactive(made)
    assert keycloak.delete_session(user.session, offline=True, bearer=bridge).status == 404


@pytest.mark.parametrize("client", ["app", "bank-api", "batch-agent", "driftline-bridge"])
def test_a_token_revoked_by_a_client_that_it_was_not_issued_to_lives(
    keycloak: Keycloak, alice: Tokens, client: str
) -> None:
    made = task(keycloak, alice)
    answer = keycloak.revoke(made.access, client)
    assert (answer.status, answer.json["error_description"]) == (400, "Unmatching clients")
    assert keycloak.active(made)


def test_a_revoked_token_of_a_clients_own_dies_alone(keycloak: Keycloak) -> None:
    batch, other = keycloak.client_credentials(), keycloak.client_credentials()
    assert keycloak.active(batch)
    assert keycloak.revoke(batch.access, "batch-agent").status == 200
    keycloak.wait_inactive(batch)
    assert keycloak.active(other)
    assert keycloak.active(keycloak.client_credentials())  # no ban


def test_a_token_that_nobody_knows_is_answered_200_and_an_error_that_means_nothing(
    keycloak: Keycloak, alice: Tokens
) -> None:
    forged = alice.access[:-8] + "AAAAAAAA"
    for token in ("never-was", forged):
        answer = keycloak.revoke(token, "app")
        assert (answer.status, answer.json["error"]) == (200, "invalid_token")
    assert keycloak.active(alice, "agent")


# POST users/ID/logout.


def test_a_users_logout_ends_all_that_the_user_was_given_before_this_second(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    sibling, offline, bob = keycloak.login("alice"), keycloak.offline("alice"), keycloak.login("bob")
    tasks = [task(keycloak, one) for one in (alice, sibling, offline)]
    kept = task(keycloak, bob)
    # It sets the user's not-before, in whole seconds: an offline session's tokens of this very second would stand.
    time.sleep(1.1)
    path = f"users/{alice.claims['sub']}/logout"
    assert keycloak.realm_admin("POST", path, bearer=bridge).status == 204
    for dead in tasks:
        keycloak.wait_inactive(dead)
    words = [keycloak.refresh(one).json["error_description"] for one in (alice, sibling, offline)]
    assert words == ["Session not active", "Session not active", "Stale token"]
    assert keycloak.active(kept)
    assert keycloak.refresh(bob).status == 200
    assert keycloak.active(keycloak.login("alice"), "agent")  # no ban
    # The offline session is there still, though none of its tokens stands.
    assert keycloak.delete_session(offline.session, offline=True, bearer=bridge).status == 204
    assert keycloak.realm_admin("POST", path, bearer=bridge).status == 204  # a repeat is answered the same
    nobody = keycloak.realm_admin("POST", "users/never-was/logout", bearer=bridge)
    assert (nobody.status, nobody.json["error"]) == (404, "User not found")


# Who may, and who may not.


def test_a_client_with_a_wrong_secret_or_that_is_not_there_gets_401(
    keycloak: Keycloak, alice: Tokens
) -> None:
    for client, error in (("driftline-bridge", "unauthorized_client"), ("never-was", "invalid_client")):
        answer = keycloak.oidc("token", client, client_secret="wrong", grant_type="client_credentials")
        assert (answer.status, answer.json["error"]) == (401, error)
    assert keycloak.oidc("revoke", "app", client_secret="wrong", token=alice.access).status == 401
    assert keycloak.active(alice, "agent")


def test_a_token_that_is_none_or_revoked_gets_401_and_one_without_the_role_403(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    assert keycloak.delete_session(alice.session, bearer="none").status == 401
    assert keycloak.delete_session(alice.session, bearer=alice.access).status == 403
    assert keycloak.delete_session(alice.session, bearer=keycloak.client_credentials().access).status == 403
    assert keycloak.revoke(bridge, "driftline-bridge").status == 200
    assert keycloak.delete_session(alice.session, bearer=bridge).status == 401
    assert keycloak.active(alice, "agent")
    assert keycloak.delete_session(alice.session).status == 204  # the client gets another


def service_account(keycloak: Keycloak, role: str, roles: str) -> str:
    """A new client with one role of realm-management, whose id is `roles`; its name."""
    name = f"only-{role}"
    document = {"clientId": name, "secret": secret(name), "serviceAccountsEnabled": True}
    made = keycloak.realm_admin("POST", "clients", document)
    assert made.status == 201
    client = made.headers["Location"].rsplit("/", 1)[1]
    account = keycloak.realm_admin("GET", f"clients/{client}/service-account-user").json["id"]
    given = [keycloak.realm_admin("GET", f"clients/{roles}/roles/{role}").json]
    path = f"users/{account}/role-mappings/clients/{roles}"
    assert keycloak.realm_admin("POST", path, given).status == 204
    return name


def test_manage_users_is_the_one_role_that_may_end_a_session(keycloak: Keycloak, alice: Tokens) -> None:
    roles = keycloak.realm_admin("GET", "clients?clientId=realm-management").json[0]["id"]
    names = [role["name"] for role in keycloak.realm_admin("GET", f"clients/{roles}/roles").json]
    answers = {}
    for role in names:
        bearer = keycloak.client_credentials(service_account(keycloak, role, roles)).access
        answers[role] = keycloak.delete_session("never-was", bearer=bearer).status
    may = {role for role, status in answers.items() if status != 403}
    assert may == {"manage-users", "realm-admin"}  # the second is all roles in one
    assert len(answers) > 15


def test_the_bridge_finds_users_and_sessions_and_no_client(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    found = keycloak.realm_admin("GET", "users?exact=true&username=alice", bearer=bridge)
    assert [user["id"] for user in found.json] == [alice.claims["sub"]]
    sessions = keycloak.realm_admin("GET", f"users/{alice.claims['sub']}/sessions", bearer=bridge)
    assert alice.session in {session["id"] for session in sessions.json}
    assert keycloak.realm_admin("GET", "clients?clientId=app", bearer=bridge).status == 403


def test_the_role_that_ends_sessions_sets_passwords_too(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    """Keycloak has no narrower one, so the bridge's secret is worth any user's account."""
    path = f"users/{alice.claims['sub']}/reset-password"
    document = {"type": "password", "value": "alice-test-password"}
    assert keycloak.realm_admin("PUT", path, document, bearer=bridge).status == 204
    assert (
        keycloak.realm_admin("POST", f"users/{alice.claims['sub']}/impersonation", bearer=bridge).status
        == 403
    )


# What is switched off, hangs or is down.


@pytest.fixture
def bridge_disabled(keycloak: Keycloak) -> Iterator[None]:
    """The bridge's client is disabled, and enabled afterwards."""
    path = f"clients/{keycloak.realm_admin('GET', 'clients?clientId=driftline-bridge').json[0]['id']}"
    enabled(keycloak, path, False)
    yield
    enabled(keycloak, path, True)


def test_a_disabled_bridge_gets_401_for_its_secret_and_for_its_token(
    keycloak: Keycloak, alice: Tokens, bridge: str, bridge_disabled: None
) -> None:
    answer = keycloak.oidc("token", "driftline-bridge", grant_type="client_credentials")
    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    assert keycloak.delete_session(alice.session, bearer=bridge).status == 401
    assert keycloak.active(alice, "agent")


@pytest.fixture
def realm_disabled(keycloak: Keycloak, alice: Tokens, bridge: str) -> Iterator[None]:
    """The realm is disabled, and enabled afterwards."""
    enabled(keycloak, "", False)
    yield
    enabled(keycloak, "", True)


def test_a_disabled_realm_answers_clients_403_and_ends_sessions_for_who_has_a_token_still(
    keycloak: Keycloak, alice: Tokens, bridge: str, realm_disabled: None
) -> None:
    answer = keycloak.oidc("token", "driftline-bridge", grant_type="client_credentials")
    assert (answer.status, answer.json["error_description"]) == (403, "Realm not enabled")
    assert keycloak.oidc("revoke", "app", token=alice.access).status == 403
    assert keycloak.delete_session(alice.session, bearer=bridge).status == 204


def test_a_server_that_hangs_takes_connections_and_the_call_must_be_made_again(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    path = f"/admin/realms/{REALM}/sessions/{alice.session}"
    keycloak.pause()
    try:
        with pytest.raises(TimeoutError):
            keycloak.request("DELETE", path, headers={"Authorization": f"Bearer {bridge}"}, limit_s=1.0)
    finally:
        keycloak.resume()
    # Whether the call that nobody waited for was carried out is anybody's guess; mostly it was not.
    assert keycloak.delete_session(alice.session, bearer=bridge).status in (204, 404)
    keycloak.wait_inactive(alice, "agent")


def test_a_server_that_is_down_refuses_and_one_that_starts_says_503_and_forgets_no_revocation(
    keycloak: Keycloak, alice: Tokens, bridge: str
) -> None:
    ended, offline = keycloak.login("bob"), keycloak.offline("bob")
    kept, revoked, deleted, lasting = (task(keycloak, one) for one in (alice, alice, ended, offline))
    assert keycloak.revoke(revoked.access, "agent").status == 200
    assert keycloak.delete_session(ended.session, bearer=bridge).status == 204
    keycloak.stop()
    answers: list[Reply] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.1):
            try:
                answers.append(keycloak.delete_session("never-was", bearer=bridge))
            except ConnectionError:
                continue

    asking = threading.Thread(target=ask)
    try:
        with pytest.raises(ConnectionRefusedError):
            keycloak.delete_session(alice.session, bearer=bridge)
        asking.start()
    finally:
        keycloak.start()
        over.set()
    asking.join()
    assert {answer.status for answer in answers} - {404} == {503}
    assert all("Retry-After" in answer.headers for answer in answers if answer.status == 503)
    assert keycloak.active(kept)
    assert keycloak.active(lasting)
    assert not keycloak.active(revoked)
    assert not keycloak.active(deleted)
    assert (
        keycloak.delete_session(alice.session, bearer=bridge).status == 204
    )  # the token from before is good
    keycloak.wait_inactive(kept)
