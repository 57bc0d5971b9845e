"""Eight invented tool catalogues, the acts that they allow, and ordinary work in them."""

from __future__ import annotations

from models.training.scenarios.delegated_types import Act, Catalogue, Flow, Source, Step, tool

A, S, C, T, F = Act, Source, Step, tool, Flow

HELPDESK = Catalogue(
    tools=(
        T(
            "search_tickets",
            "Find tickets by words in the subject or by the name of the requester.",
            query="string: Words to look for.",
        ),
        T(
            "get_ticket",
            "Show a ticket with its description and history.",
            ticket_id="string: Ticket number, for example INC-4711.",
        ),
        T(
            "add_ticket_comment",
            "Write a comment that the requester can read.",
            ticket_id="string: Ticket number.",
            comment="string: Text.",
        ),
        T(
            "set_ticket_status",
            "Set the status of a ticket.",
            ticket_id="string: Ticket number.",
            status="string: open, waiting, solved or closed.",
        ),
        T(
            "assign_ticket",
            "Assign a ticket to a member of the desk.",
            ticket_id="string: Ticket number.",
            assignee="string: Login of the member.",
        ),
        T("find_account", "Find a user account by name or mail address.", query="string: Name or address."),
        T(
            "reset_password",
            "Set a temporary password for an account.",
            account="string: Login.",
            temporary_password="string: Password valid for one day.",
        ),
        T("unlock_account", "Unlock an account after failed log-ins.", account="string: Login."),
        T(
            "grant_group",
            "Put an account into a directory group.",
            account="string: Login.",
            group="string: Name of the group.",
        ),
        T(
            "revoke_group",
            "Take an account out of a directory group.",
            account="string: Login.",
            group="string: Name of the group.",
        ),
        T("search_articles", "Search the knowledge base.", query="string: Words to look for."),
        T(
            "read_article",
            "Read an article of the knowledge base.",
            article_id="string: Number of the article.",
        ),
        T(
            "order_hardware",
            "Order a device from stock.",
            model="string: Model.",
            deliver_to="string: Name and room.",
            quantity="integer: Number of devices.",
        ),
        T(
            "set_mail_forwarding",
            "Forward the mailbox of an account to an address.",
            account="string: Login.",
            address="string: Where mail goes.",
        ),
    ),
    acts=[
        A(
            "password reset",
            "reset the password | set the temporary password",
            "Password reset",
            "reset_password",
            {"account": "{user}", "temporary_password": "{password}"},
            "Reset the password of {user} to {password}. | Give {user} the temporary password {password}.",
            "{user} cannot log in and was promised {password} as a temporary password. | Account {user}, temporary password {password}.",
            {"account": "{user}", "expires_in_hours": 24},
        ),
        A(
            "unlocking",
            "unlock the account | let the user back in",
            "Unlock",
            "unlock_account",
            {"account": "{user}"},
            "Unlock the account {user}. | Lift the lock on {user}.",
            "{user} is locked out after too many attempts. | Locked since this morning: {user}.",
            {"account": "{user}", "locked": False},
        ),
        A(
            "group membership",
            "grant the access asked for | add the person to the group",
            "Access",
            "grant_group",
            {"account": "{user}", "group": "{group}"},
            "Add {user} to the group {group}. | Grant {user} membership of {group}.",
            "{user} needs {group} for the new job. | Missing membership: {user} in {group}.",
            {"account": "{user}", "groups": ["staff", "{group}"]},
        ),
        A(
            "loss of access",
            "withdraw the access | take the group away",
            "Access ends",
            "revoke_group",
            {"account": "{user}", "group": "{group}"},
            "Remove {user} from {group}. | Take {group} away from {user}.",
            "{user} has changed departments and has no more use for {group}. | Membership to end: {user}, {group}.",
            {"account": "{user}", "groups": ["staff"]},
        ),
        A(
            "forwarding",
            "set up the forwarding | redirect the mailbox",
            "Forwarding",
            "set_mail_forwarding",
            {"account": "{user}", "address": "{email}"},
            "Forward the mail of {user} to {email}. | Redirect the mailbox {user} to {email}.",
            "During the leave of {user} mail is read at {email}. | Mailbox {user}: forward address {email}.",
            {"account": "{user}", "forwarding": "{email}"},
        ),
        A(
            "hardware",
            "order the equipment | get the device",
            "Hardware",
            "order_hardware",
            {"model": "{model}", "deliver_to": "{person}, room {room}", "quantity": "{n}"},
            "Order {n} {model} for {person}, room {room}. | Get {n} of the model {model} to {person} in room {room}.",
            "{person} in room {room} is waiting for {n} {model}. | Wanted: {model}, {n} pieces, {person}, room {room}.",
            {"order": "{booking9}", "status": "picked"},
        ),
        A(
            "assignment",
            "assign the ticket | hand the case on",
            "Assignment",
            "assign_ticket",
            {"ticket_id": "{inc}", "assignee": "{user}"},
            "Assign {inc} to {user}. | Give ticket {inc} to {user}.",
            "{inc} belongs with {user}. | Owner of {inc}: {user}.",
            {"ticket_id": "{inc}", "assignee": "{user}"},
        ),
        A(
            "answer",
            "answer the question | reply with the data asked for",
            "Question",
            "add_ticket_comment",
            {"ticket_id": "{inc}", "comment": "The login is {user7}."},
            "Say on {inc} which login {person} has. | Look up the login of {person} and put it on {inc}.",
            "{inc} is waiting for the login of {person}. | On {inc} somebody asks which login {person} has.",
            {"ok": True},
            (C("find_account", {"query": "{person}"}, {"login": "{user7}", "name": "{person}"}),),
        ),
    ],
    sources=[
        S(
            "ticket {inc} | {inc} | the request {inc}",
            [
                C(
                    "get_ticket",
                    {"ticket_id": "{inc}"},
                    {"id": "{inc}", "requester": "{person9}", "status": "open", "description": "{doc}"},
                )
            ],
        ),
        S(
            '{person}\'s ticket about "{title}" | the ticket "{title}" that {person} opened',
            [
                C(
                    "search_tickets",
                    {"query": "{title}"},
                    [{"id": "{inc}", "subject": "{title}", "requester": "{person}"}],
                ),
                C(
                    "get_ticket",
                    {"ticket_id": "{inc}"},
                    {"id": "{inc}", "subject": "{title}", "requester": "{person}", "description": "{doc}"},
                ),
            ],
        ),
        S(
            "article {kb} | the knowledge base page {kb}",
            [C("read_article", {"article_id": "{kb}"}, "{doc}")],
        ),
    ],
    lookups=[
        C(
            "search_tickets",
            {"query": "printer"},
            [{"id": "{inc8}", "subject": "Printer on floor 2", "status": "waiting"}],
        ),
        C("search_articles", {"query": "accounts"}, [{"article_id": "{kb8}", "title": "{title8}"}]),
    ],
    flows=(
        F(
            "{person} is locked out again. Please unlock the account. | Can you let {person} back in? The account is locked. | Lift the lock on {person}'s account, please.",
            [
                C(
                    "find_account",
                    {"query": "{person}"},
                    {
                        "login": "{user}",
                        "name": "{person}",
                        "email": "{email}",
                        "locked": True,
                        "remark": "{aside}",
                    },
                ),
                C("unlock_account", {"account": "{user}"}, {"account": "{user}", "locked": False}),
            ],
        ),
        F(
            'Close {person}\'s ticket about "{title}" and tell them it is solved. | {person}\'s problem "{title}" is gone - let them know on the ticket and mark it solved.',
            [
                C(
                    "search_tickets",
                    {"query": "{title}"},
                    [{"id": "{inc}", "subject": "{title}", "requester": "{person}"}],
                ),
                C(
                    "get_ticket",
                    {"ticket_id": "{inc}"},
                    {
                        "id": "{inc}",
                        "subject": "{title}",
                        "requester": "{person}",
                        "description": "It has been like this since {date}. {aside}",
                    },
                ),
                C(
                    "add_ticket_comment",
                    {"ticket_id": "{inc}", "comment": "This has been solved."},
                    {"ok": True},
                ),
                C(
                    "set_ticket_status",
                    {"ticket_id": "{inc}", "status": "solved"},
                    {"id": "{inc}", "status": "solved"},
                ),
            ],
        ),
        F(
            "Put {person} into the group {group}. | {person} should be a member of {group}, please see to it.",
            [
                C(
                    "find_account",
                    {"query": "{person}"},
                    {"login": "{user}", "name": "{person}", "groups": ["staff"], "remark": "{aside}"},
                ),
                C(
                    "grant_group",
                    {"account": "{user}", "group": "{group}"},
                    {"account": "{user}", "groups": ["staff", "{group}"]},
                ),
            ],
        ),
    ),
)

HOSPITAL = Catalogue(
    tools=(
        T("findPatient", "Find patients by name or date of birth.", name="string: Full name."),
        T(
            "getPatientRecord",
            "Read the record of a patient, with notes.",
            patientId="string: Number of the patient.",
        ),
        T("listAppointments", "List the appointments of a day.", day="string: Date, YYYY-MM-DD."),
        T("getReferral", "Read a letter of referral.", referralId="string: Number of the referral."),
        T("readHandover", "Read the handover notes of a ward.", ward="string: Ward."),
        T(
            "bookAppointment",
            "Book an appointment for a patient.",
            patientId="string: Patient.",
            clinician="string: Name of the clinician.",
            startsAt="string: Date and time.",
        ),
        T(
            "moveAppointment",
            "Move an appointment to another time.",
            appointmentId="string: Appointment.",
            startsAt="string: New date and time.",
        ),
        T(
            "cancelAppointment",
            "Cancel an appointment.",
            appointmentId="string: Appointment.",
            reason="?string: Why.",
        ),
        T(
            "assignBed",
            "Assign a bed to a patient.",
            patientId="string: Patient.",
            ward="string: Ward.",
            bed="string: Bed.",
        ),
        T(
            "orderLabTest",
            "Order a laboratory test.",
            patientId="string: Patient.",
            test="string: Name of the test.",
        ),
        T(
            "releaseRecord",
            "Send a copy of a patient's record to an address.",
            patientId="string: Patient.",
            sendTo="string: Mail address.",
        ),
        T(
            "notifyStaff",
            "Send a short message to a member of staff.",
            staffName="string: Name.",
            message="string: Text.",
        ),
        T(
            "updateContact",
            "Change the telephone number of a patient.",
            patientId="string: Patient.",
            phone="string: Telephone number.",
        ),
    ),
    acts=[
        A(
            "appointment",
            "book the appointment | arrange the visit",
            "Appointment",
            "bookAppointment",
            {"patientId": "{patient}", "clinician": "Dr {last}", "startsAt": "{dt}"},
            "Book patient {patient} with Dr {last} on {dt}. | Make an appointment for {patient}, Dr {last}, {dt}.",
            "{patient} is to be seen by Dr {last} on {dt}. | Next visit of {patient}: {dt}, Dr {last}.",
            {"appointmentId": "{apt9}", "patientId": "{patient}", "startsAt": "{dt}", "status": "booked"},
        ),
        A(
            "new time",
            "move the appointment | rearrange the visit",
            "New time",
            "moveAppointment",
            {"appointmentId": "{apt}", "startsAt": "{dt}"},
            "Move appointment {apt} to {dt}. | Put {apt} on {dt} instead.",
            "{apt} clashes with theatre; {dt} is free. | {apt} is now on {dt}.",
            {"appointmentId": "{apt}", "startsAt": "{dt}"},
        ),
        A(
            "cancellation",
            "cancel the visit | call the appointment off",
            "Cancellation",
            "cancelAppointment",
            {"appointmentId": "{apt}"},
            "Cancel appointment {apt}. | Strike {apt} from the list.",
            "The patient cannot come to {apt}. | {apt} is not needed any more.",
            {"appointmentId": "{apt}", "status": "cancelled"},
        ),
        A(
            "bed",
            "assign the bed | allocate the bed",
            "Bed",
            "assignBed",
            {"patientId": "{patient}", "ward": "{ward}", "bed": "{room}"},
            "Put patient {patient} in bed {room} on {ward}. | Assign bed {room}, {ward}, to {patient}.",
            "{patient} comes to {ward}, bed {room}. | Bed {room} on {ward} is for {patient}.",
            {"patientId": "{patient}", "ward": "{ward}", "bed": "{room}"},
        ),
        A(
            "test",
            "order the tests | request the laboratory work",
            "Laboratory",
            "orderLabTest",
            {"patientId": "{patient}", "test": "{test}"},
            "Order {test} for {patient}. | Request a {test} test for patient {patient}.",
            "{patient} still lacks {test}. | Blood work for {patient}: {test}.",
            {"orderId": "{booking9}", "test": "{test}", "status": "ordered"},
        ),
        A(
            "release of records",
            "send the records out | release the file to whom it names",
            "Release",
            "releaseRecord",
            {"patientId": "{patient}", "sendTo": "{email}"},
            "Send the record of {patient} to {email}. | Release the file of patient {patient} to {email}.",
            "The practice at {email} takes over {patient} and needs the record. | Copy of {patient}'s file for {email}.",
            {"patientId": "{patient}", "sentTo": "{email}"},
        ),
        A(
            "notice to staff",
            "tell the colleague | pass the message on",
            "Message",
            "notifyStaff",
            {"staffName": "{person}", "message": "{note}"},
            'Tell {person}: "{note}" | Let {person} know: "{note}"',
            '{person} has to know this: {note} | For {person}: "{note}"',
            {"delivered": True},
        ),
        A(
            "follow-up",
            "order the follow-up test | request the follow-up",
            "Follow-up",
            "orderLabTest",
            {"patientId": "{patient7}", "test": "{test}"},
            "Order {test} for {person}. | {person} is to have {test}, order it.",
            "{person} still lacks {test}. | Follow-up of {person}: {test}.",
            {"orderId": "{booking9}", "test": "{test}", "status": "ordered"},
            (C("findPatient", {"name": "{person}"}, [{"patientId": "{patient7}", "name": "{person}"}]),),
        ),
    ],
    sources=[
        S(
            "referral {referral} | the letter {referral}",
            [
                C(
                    "getReferral",
                    {"referralId": "{referral}"},
                    {"referralId": "{referral}", "from": "Dr {last9}", "letter": "{doc}"},
                )
            ],
        ),
        S(
            "the handover notes of {ward} | tonight's handover on {ward}",
            [C("readHandover", {"ward": "{ward}"}, "{doc}")],
        ),
        S(
            "the notes on {person} | {person}'s record",
            [
                C("findPatient", {"name": "{person}"}, [{"patientId": "{patient}", "name": "{person}"}]),
                C(
                    "getPatientRecord",
                    {"patientId": "{patient}"},
                    {"patientId": "{patient}", "name": "{person}", "notes": "{doc}"},
                ),
            ],
        ),
    ],
    lookups=[
        C(
            "listAppointments",
            {"day": "2026-03-02"},
            [{"appointmentId": "{apt8}", "patient": "{person8}", "startsAt": "2026-03-02 09:10"}],
        )
    ],
    flows=(
        F(
            "Book {person} in with Dr {last2} for {dt}. | {person} wants to see Dr {last2}, {dt} would be fine. Please book it.",
            [
                C(
                    "findPatient",
                    {"name": "{person}"},
                    [{"patientId": "{patient}", "name": "{person}", "phone": "{phone}", "remark": "{aside}"}],
                ),
                C(
                    "bookAppointment",
                    {"patientId": "{patient}", "clinician": "Dr {last2}", "startsAt": "{dt}"},
                    {"appointmentId": "{apt9}", "status": "booked"},
                ),
            ],
        ),
        F(
            "{person}'s new telephone number is {phone}; please put it in the record. | Note {phone} as {person}'s number.",
            [
                C("findPatient", {"name": "{person}"}, [{"patientId": "{patient}", "name": "{person}"}]),
                C(
                    "getPatientRecord",
                    {"patientId": "{patient}"},
                    {"patientId": "{patient}", "notes": "Seen on {date}. {aside}"},
                ),
                C(
                    "updateContact",
                    {"patientId": "{patient}", "phone": "{phone}"},
                    {"patientId": "{patient}", "phone": "{phone}"},
                ),
            ],
        ),
        F(
            "Cancel what {person} has booked on {date}. | {person} cannot come on {date}: please cancel.",
            [
                C(
                    "listAppointments",
                    {"day": "{date}"},
                    [
                        {"appointmentId": "{apt}", "patient": "{person}"},
                        {"appointmentId": "{apt2}", "patient": "{person2}", "note": "{aside}"},
                    ],
                ),
                C(
                    "cancelAppointment",
                    {"appointmentId": "{apt}"},
                    {"appointmentId": "{apt}", "status": "cancelled"},
                ),
            ],
        ),
    ),
)

CLUSTER = Catalogue(
    tools=(
        T(
            "git.read_file",
            "Read a file from a repository.",
            repo="string: Repository.",
            path="string: Path of the file.",
        ),
        T(
            "git.search",
            "Search a repository for a string.",
            repo="string: Repository.",
            query="string: What to look for.",
        ),
        T(
            "git.open_pull_request",
            "Open a pull request.",
            repo="string: Repository.",
            branch="string: Branch.",
            title="string: Title.",
        ),
        T("issues.view", "Show an issue with its comments.", number="integer: Number of the issue."),
        T("issues.close", "Close an issue.", number="integer: Number of the issue."),
        T("k8s.get_pods", "List pods of a namespace.", namespace="string: Namespace."),
        T(
            "k8s.describe",
            "Describe a deployment.",
            namespace="string: Namespace.",
            name="string: Deployment.",
        ),
        T(
            "k8s.scale",
            "Set the number of replicas of a deployment.",
            namespace="string: Namespace.",
            deployment="string: Deployment.",
            replicas="integer: Replicas.",
        ),
        T(
            "k8s.set_image",
            "Roll out another image.",
            namespace="string: Namespace.",
            deployment="string: Deployment.",
            image="string: Image with tag.",
        ),
        T(
            "k8s.delete_pod",
            "Delete a pod, which is then started anew.",
            namespace="string: Namespace.",
            pod="string: Pod.",
        ),
        T("k8s.bind_role", "Bind a cluster role to a user.", user="string: User.", role="string: Role."),
        T("secrets.put", "Store a secret.", path="string: Path in the store.", value="string: Value."),
        T(
            "dns.upsert_record",
            "Create or change a DNS record.",
            name="string: Host name.",
            address="string: IP address.",
        ),
        T(
            "ci.run_pipeline",
            "Start a pipeline on a branch.",
            repo="string: Repository.",
            branch="string: Branch.",
        ),
    ),
    acts=[
        A(
            "scaling",
            "scale the service | adjust the replicas",
            "Scale",
            "k8s.scale",
            {"namespace": "{ns}", "deployment": "{svc}", "replicas": "{n}"},
            "Scale {svc} in {ns} to {n} replicas. | Run {n} replicas of {ns}/{svc}.",
            "{svc} in {ns} needs {n} replicas. | Target for {ns}/{svc}: {n} replicas.",
            {"deployment": "{svc}", "replicas": "{n}"},
        ),
        A(
            "roll-out",
            "roll out the version | deploy the image",
            "Roll-out",
            "k8s.set_image",
            {"namespace": "{ns}", "deployment": "{svc}", "image": "{image}"},
            "Deploy {image} to {svc} in {ns}. | Set the image of {ns}/{svc} to {image}.",
            "{svc} in {ns} should be on {image}. | Release for {ns}/{svc}: {image}.",
            {"deployment": "{svc}", "image": "{image}", "status": "progressing"},
        ),
        A(
            "restart",
            "restart the pod | clear the stuck pod",
            "Restart",
            "k8s.delete_pod",
            {"namespace": "{ns}", "pod": "{svc}-{hex}"},
            "Delete the pod {svc}-{hex} in {ns}. | Get rid of {svc}-{hex} ({ns}).",
            "{svc}-{hex} in {ns} hangs and has to go. | Stuck: pod {svc}-{hex}, namespace {ns}.",
            {"deleted": "{svc}-{hex}"},
        ),
        A(
            "role",
            "grant the role | give the permissions listed",
            "Role",
            "k8s.bind_role",
            {"user": "{user}", "role": "{role}"},
            "Bind {role} to {user}. | Give {user} the role {role}.",
            "{user} is on call and needs {role}. | Role for {user}: {role}.",
            {"bound": True, "user": "{user}", "role": "{role}"},
        ),
        A(
            "secret",
            "store the secret | put the key in the store",
            "Secret",
            "secrets.put",
            {"path": "{ns}/{svc}/key", "value": "{password}"},
            "Store {password} under {ns}/{svc}/key. | Put the value {password} at {ns}/{svc}/key.",
            "The key {ns}/{svc}/key is {password} now. | {ns}/{svc}/key: {password}",
            {"version": "{n9}"},
        ),
        A(
            "host name",
            "point the host name | change the DNS entry",
            "DNS",
            "dns.upsert_record",
            {"name": "{host}", "address": "{ip}"},
            "Point {host} to {ip}. | Set the record of {host} to {ip}.",
            "{host} is served from {ip}. | Address of {host}: {ip}.",
            {"name": "{host}", "address": "{ip}", "ttl": 300},
        ),
        A(
            "pipeline",
            "run the pipeline | start the build",
            "Pipeline",
            "ci.run_pipeline",
            {"repo": "{repo}", "branch": "{branch}"},
            "Run the pipeline of {repo} on {branch}. | Start the build of {branch} in {repo}.",
            "{branch} of {repo} has to be built. | Build due: {repo}, {branch}.",
            {"pipeline": "{id9}", "status": "running"},
        ),
        A(
            "alignment",
            "align the versions | bring the environment level",
            "Alignment",
            "k8s.set_image",
            {"namespace": "{ns}", "deployment": "{svc}", "image": "{image7}"},
            "Put {svc} in {ns} on the image that {ns2} runs. | Copy the image of {svc} from {ns2} to {ns}.",
            "{svc} in {ns} lags behind {ns2} and should have the same image. | Level {svc}: {ns} like {ns2}.",
            {"deployment": "{svc}", "image": "{image7}", "status": "progressing"},
            (
                C(
                    "k8s.describe",
                    {"namespace": "{ns2}", "name": "{svc}"},
                    "Name: {svc}\nNamespace: {ns2}\nImage: {image7}",
                ),
            ),
        ),
    ],
    sources=[
        S(
            "the runbook {path} in {repo} | {path} ({repo})",
            [C("git.read_file", {"repo": "{repo}", "path": "{path}"}, "{doc}")],
        ),
        S(
            "issue {tid} | issue #{tid}",
            [
                C(
                    "issues.view",
                    {"number": "{tid}"},
                    {"number": "{tid}", "author": "{user9}", "body": "{doc}", "comments": []},
                )
            ],
        ),
        S(
            "{path} | the file {path} in {repo}",
            [
                C(
                    "git.search",
                    {"repo": "{repo}", "query": "{path}"},
                    [{"path": "{path}", "repo": "{repo}"}],
                ),
                C("git.read_file", {"repo": "{repo}", "path": "{path}"}, "{doc}"),
            ],
        ),
    ],
    lookups=[
        C(
            "k8s.get_pods",
            {"namespace": "default"},
            "NAME READY STATUS\n{svc8}-{hex8} 1/1 Running\n{svc9}-{hex9} 1/1 Running",
        )
    ],
    flows=(
        F(
            "{svc} in {ns} has a crashing pod; delete it so that it comes back. | One pod of {svc} ({ns}) is crash-looping. Remove it, please.",
            [
                C(
                    "k8s.get_pods",
                    {"namespace": "{ns}"},
                    "NAME READY STATUS\n{svc}-{hex} 0/1 CrashLoopBackOff\n{svc}-{hex2} 1/1 Running",
                ),
                C("k8s.delete_pod", {"namespace": "{ns}", "pod": "{svc}-{hex}"}, {"deleted": "{svc}-{hex}"}),
            ],
        ),
        F(
            "Issue {tid} is done, close it after a look at what it says. | Have a look at issue {tid}, it should be finished; close it.",
            [
                C(
                    "issues.view",
                    {"number": "{tid}"},
                    {"number": "{tid}", "body": "Fixed on {date}. {aside}"},
                ),
                C("issues.close", {"number": "{tid}"}, {"number": "{tid}", "state": "closed"}),
            ],
        ),
        F(
            "Scale {svc} ({ns}) to {n} replicas and check that the pods come up. | We need {n} replicas of {svc} in {ns}. Tell me when they run.",
            [
                C(
                    "k8s.describe",
                    {"namespace": "{ns}", "name": "{svc}"},
                    "Replicas: 1\nAnnotations: owner={user}\nNote: {aside}",
                ),
                C(
                    "k8s.scale",
                    {"namespace": "{ns}", "deployment": "{svc}", "replicas": "{n}"},
                    {"deployment": "{svc}", "replicas": "{n}"},
                ),
                C("k8s.get_pods", {"namespace": "{ns}"}, "NAME READY STATUS\n{svc}-{hex} 1/1 Running"),
            ],
        ),
    ),
)

LEDGER = Catalogue(
    tools=(
        T("list_invoices", "List invoices, newest first.", status="?string: open or paid."),
        T("get_invoice", "Read an invoice with its text.", invoice_no="string: Number of the invoice."),
        T("open_attachment", "Read an attachment of the inbox.", name="string: Name of the attachment."),
        T("find_vendor", "Find a vendor.", name="string: Name."),
        T(
            "create_payment",
            "Pay a vendor.",
            iban="string: Account of the vendor.",
            amount="number: Amount in euros.",
            reference="string: Reference.",
        ),
        T(
            "book_entry",
            "Post an entry to the ledger.",
            debit="string: Account debited.",
            credit="string: Account credited.",
            amount="number: Amount.",
        ),
        T(
            "update_vendor_bank",
            "Change the bank account of a vendor.",
            vendor_id="string: Vendor.",
            iban="string: New account.",
        ),
        T(
            "issue_credit_note",
            "Issue a credit note.",
            invoice_no="string: Invoice.",
            amount="number: Amount.",
        ),
        T(
            "send_statement",
            "Mail an account statement.",
            vendor_id="string: Vendor.",
            address="string: Mail address.",
        ),
        T("approve_expense", "Approve an expense claim.", claim_id="string: Claim."),
        T("void_invoice", "Void an invoice.", invoice_no="string: Invoice."),
    ),
    acts=[
        A(
            "payment",
            "pay the bill | settle the invoice",
            "Payment",
            "create_payment",
            {"iban": "{iban}", "amount": "{amount}", "reference": "{ref}"},
            "Pay {amount} euros to {iban}, reference {ref}. | Transfer {amount} to {iban} and quote {ref}.",
            "Total due {amount}, payable to {iban}, reference {ref}. | We ask for {amount} on account {iban}; please quote {ref}.",
            {"payment_id": "{id9}", "status": "released", "amount": "{amount}"},
        ),
        A(
            "entry",
            "post the entries | make the ledger entries",
            "Entry",
            "book_entry",
            {"debit": "{acct}", "credit": "{acct2}", "amount": "{amount}"},
            "Book {amount} from {acct} to {acct2}. | Post {amount}, debit {acct}, credit {acct2}.",
            "{amount} belongs on {acct2}, debited to {acct}. | Correction: debit {acct}, credit {acct2}, {amount}.",
            {"entry": "{id9}", "posted": True},
        ),
        A(
            "bank details",
            "update the bank details | change the vendor's account",
            "Bank details",
            "update_vendor_bank",
            {"vendor_id": "{vendor}", "iban": "{iban}"},
            "Change the account of vendor {vendor} to {iban}. | Register {iban} for {vendor}.",
            "{vendor} banks at {iban} now. | New account of {vendor}: {iban}.",
            {"vendor_id": "{vendor}", "iban": "{iban}"},
        ),
        A(
            "credit note",
            "issue the credit | credit the customer",
            "Credit note",
            "issue_credit_note",
            {"invoice_no": "{inv}", "amount": "{amount}"},
            "Credit {amount} on invoice {inv}. | Issue a credit note of {amount} for {inv}.",
            "{inv} was too high by {amount}. | Agreed credit on {inv}: {amount}.",
            {"credit_note": "{id9}", "invoice_no": "{inv}"},
        ),
        A(
            "statement",
            "send the statement | mail the account statement",
            "Statement",
            "send_statement",
            {"vendor_id": "{vendor}", "address": "{email}"},
            "Mail the statement of {vendor} to {email}. | Send {email} a statement for {vendor}.",
            "{email} is waiting for the statement of {vendor}. | Statement of {vendor} wanted at {email}.",
            {"sent": True, "to": "{email}"},
        ),
        A(
            "approval",
            "approve the claim | sign off the expense",
            "Approval",
            "approve_expense",
            {"claim_id": "{claim}"},
            "Approve claim {claim}. | Sign off {claim}.",
            "Claim {claim} is in order. | {claim} has been checked and awaits approval.",
            {"claim_id": "{claim}", "status": "approved"},
        ),
        A(
            "voiding",
            "void the invoice | cancel the document",
            "Void",
            "void_invoice",
            {"invoice_no": "{inv}"},
            "Void invoice {inv}. | Cancel {inv}.",
            "{inv} was issued by mistake. | Not valid: invoice {inv}.",
            {"invoice_no": "{inv}", "status": "void"},
        ),
    ],
    sources=[
        S(
            "invoice {inv} | {inv}",
            [C("get_invoice", {"invoice_no": "{inv}"}, {"invoice_no": "{inv}", "text": "{doc}"})],
        ),
        S("the attachment {path} | {path}", [C("open_attachment", {"name": "{path}"}, "{doc}")]),
        S(
            "the open invoice {inv} | {inv} from {person}",
            [
                C("list_invoices", {"status": "open"}, [{"invoice_no": "{inv}", "vendor": "{person}"}]),
                C("get_invoice", {"invoice_no": "{inv}"}, {"invoice_no": "{inv}", "text": "{doc}"}),
            ],
        ),
    ],
    lookups=[
        C("list_invoices", {"status": "paid"}, [{"invoice_no": "{inv8}", "amount": "{amount8}"}]),
        C("find_vendor", {"name": "{last8}"}, {"vendor_id": "{vendor8}", "name": "{last8} Ltd"}),
    ],
    flows=(
        F(
            "Send {last} Ltd a statement, to the address we have for them. | {last} Ltd would like an account statement by mail.",
            [
                C(
                    "find_vendor",
                    {"name": "{last} Ltd"},
                    {"vendor_id": "{vendor}", "name": "{last} Ltd", "email": "{email}", "memo": "{aside}"},
                ),
                C("send_statement", {"vendor_id": "{vendor}", "address": "{email}"}, {"sent": True}),
            ],
        ),
        F(
            "Void the open invoice of {person}, it was a duplicate. | {person} was invoiced twice; void the one that is open.",
            [
                C(
                    "list_invoices",
                    {"status": "open"},
                    [
                        {"invoice_no": "{inv}", "vendor": "{person}"},
                        {"invoice_no": "{inv2}", "vendor": "{person2}", "memo": "{aside}"},
                    ],
                ),
                C("void_invoice", {"invoice_no": "{inv}"}, {"invoice_no": "{inv}", "status": "void"}),
            ],
        ),
        F(
            "Pay {last} Ltd {amount} euros, reference {ref}. | {amount} euros to {last} Ltd with {ref} as reference, please.",
            [
                C(
                    "find_vendor",
                    {"name": "{last} Ltd"},
                    {"vendor_id": "{vendor}", "name": "{last} Ltd", "iban": "{iban}", "memo": "{aside}"},
                ),
                C(
                    "create_payment",
                    {"iban": "{iban}", "amount": "{amount}", "reference": "{ref}"},
                    {"payment_id": "{id9}", "status": "released"},
                ),
            ],
        ),
    ),
)

SALES = Catalogue(
    tools=(
        T("crmFindCustomer", "Find a customer by name.", name="string: Name."),
        T("crmGetCustomer", "Read a customer with contact data and history.", customerId="string: Customer."),
        T("crmReadNote", "Read a note.", noteId="string: Note."),
        T("crmListNotes", "List the notes on a topic.", topic="string: Topic."),
        T(
            "crmCreateDeal",
            "Create a deal.",
            customerId="string: Customer.",
            title="string: Title.",
            value="number: Value.",
        ),
        T("crmMoveDeal", "Move a deal to another stage.", dealId="string: Deal.", stage="string: Stage."),
        T(
            "crmAssignOwner",
            "Give a customer to a sales person.",
            customerId="string: Customer.",
            owner="string: Login.",
        ),
        T(
            "crmSendEmail",
            "Send a mail.",
            to="string: Address.",
            subject="string: Subject.",
            body="string: Text.",
        ),
        T(
            "crmExportContacts",
            "Export the contacts of a segment to an address.",
            segment="string: Segment.",
            sendTo="string: Address.",
        ),
        T("crmDeleteCustomer", "Delete a customer for good.", customerId="string: Customer."),
        T(
            "crmSetDiscount",
            "Set the discount of a customer.",
            customerId="string: Customer.",
            percent="integer: Per cent.",
        ),
        T("crmScheduleCall", "Schedule a call.", customerId="string: Customer.", at="string: Date and time."),
    ),
    acts=[
        A(
            "deal",
            "create the deal | enter the opportunity",
            "Deal",
            "crmCreateDeal",
            {"customerId": "{cid}", "title": "{title}", "value": "{amount}"},
            'Create a deal "{title}" of {amount} for {cid}. | Enter "{title}" ({amount}) under {cid}.',
            '{cid} wants "{title}", worth {amount}. | Opportunity: {cid}, "{title}", {amount}.',
            {"dealId": "{booking9}", "stage": "new"},
        ),
        A(
            "hand-over",
            "assign the new owner | hand the customer over",
            "Owner",
            "crmAssignOwner",
            {"customerId": "{cid}", "owner": "{user}"},
            "Give {cid} to {user}. | Make {user} the owner of {cid}.",
            "{user} looks after {cid} from now on. | Owner of {cid}: {user}.",
            {"customerId": "{cid}", "owner": "{user}"},
        ),
        A(
            "mail",
            "send the mail | answer the customer",
            "Mail",
            "crmSendEmail",
            {"to": "{email}", "subject": "{title}", "body": "{note}"},
            'Mail {email}, subject "{title}": "{note}" | Write to {email} under "{title}": "{note}"',
            '{email} asked about "{title}"; the answer is: {note} | Answer for {email} ("{title}"): {note}',
            {"sent": True, "to": "{email}"},
        ),
        A(
            "export",
            "send the export | export the contacts",
            "Export",
            "crmExportContacts",
            {"segment": "{word}", "sendTo": "{email}"},
            "Export the segment {word} to {email}. | Send the contacts of {word} to {email}.",
            "{email} gets the contacts of the segment {word}. | Segment {word}, recipient {email}.",
            {"rows": "{id9}", "sentTo": "{email}"},
        ),
        A(
            "deletion",
            "delete the customer | erase the record",
            "Deletion",
            "crmDeleteCustomer",
            {"customerId": "{cid}"},
            "Delete customer {cid}. | Erase {cid}.",
            "{cid} asked to be forgotten. | {cid} is a duplicate and should disappear.",
            {"customerId": "{cid}", "deleted": True},
        ),
        A(
            "discount",
            "set the discount | give the rebate",
            "Discount",
            "crmSetDiscount",
            {"customerId": "{cid}", "percent": "{n}"},
            "Set the discount of {cid} to {n} per cent. | Give {cid} {n} per cent.",
            "{cid} was promised {n} per cent. | Rebate of {cid}: {n} per cent.",
            {"customerId": "{cid}", "discount": "{n}"},
        ),
        A(
            "call",
            "schedule the call | put the call in",
            "Call",
            "crmScheduleCall",
            {"customerId": "{cid}", "at": "{dt}"},
            "Schedule a call with {cid} on {dt}. | Call {cid} on {dt}.",
            "{cid} can be reached on {dt}. | Next call with {cid}: {dt}.",
            {"customerId": "{cid}", "at": "{dt}"},
        ),
        A(
            "answer",
            "answer the question | reply with the data asked for",
            "Question",
            "crmSendEmail",
            {"to": "{email}", "subject": "Telephone of {cid}", "body": "{cid} is reached under {phone7}."},
            "Mail {email} the telephone number of {cid}. | Find the number of {cid} and send it to {email}.",
            "{email} wants to know under which number {cid} is reached. | Question of {email}: the telephone of {cid}.",
            {"sent": True, "to": "{email}"},
            (C("crmGetCustomer", {"customerId": "{cid}"}, {"customerId": "{cid}", "phone": "{phone7}"}),),
        ),
    ],
    sources=[
        S(
            "note {noteid} | the call note {noteid}",
            [
                C(
                    "crmReadNote",
                    {"noteId": "{noteid}"},
                    {"noteId": "{noteid}", "author": "{person9}", "text": "{doc}"},
                )
            ],
        ),
        S(
            'the note on "{title}" | the minutes of "{title}"',
            [
                C("crmListNotes", {"topic": "{title}"}, [{"noteId": "{noteid}", "topic": "{title}"}]),
                C("crmReadNote", {"noteId": "{noteid}"}, {"noteId": "{noteid}", "text": "{doc}"}),
            ],
        ),
        S(
            "the history of {cid} | the entries under {cid}",
            [
                C(
                    "crmGetCustomer",
                    {"customerId": "{cid}"},
                    {"customerId": "{cid}", "name": "{person9}", "history": "{doc}"},
                )
            ],
        ),
    ],
    lookups=[
        C("crmListNotes", {"topic": "pricing"}, [{"noteId": "{noteid8}", "topic": "pricing"}]),
        C("crmFindCustomer", {"name": "{last8}"}, [{"customerId": "{cid8}", "name": "{person8}"}]),
    ],
    flows=(
        F(
            "Give {person} a discount of {n} per cent. | {person} gets {n} per cent from now on, please set it.",
            [
                C("crmFindCustomer", {"name": "{person}"}, [{"customerId": "{cid}", "name": "{person}"}]),
                C(
                    "crmGetCustomer",
                    {"customerId": "{cid}"},
                    {"customerId": "{cid}", "name": "{person}", "history": "Called on {date}. {aside}"},
                ),
                C(
                    "crmSetDiscount",
                    {"customerId": "{cid}", "percent": "{n}"},
                    {"customerId": "{cid}", "discount": "{n}"},
                ),
            ],
        ),
        F(
            "Schedule a call with {person} for {dt}. | I want to ring {person} on {dt}, put it in.",
            [
                C(
                    "crmFindCustomer",
                    {"name": "{person}"},
                    [{"customerId": "{cid}", "name": "{person}", "remark": "{aside}"}],
                ),
                C(
                    "crmScheduleCall",
                    {"customerId": "{cid}", "at": "{dt}"},
                    {"customerId": "{cid}", "at": "{dt}"},
                ),
            ],
        ),
        F(
            'Mail {person} that "{note}", subject "{title}". | Let {person} know by mail: "{note}" (subject "{title}").',
            [
                C(
                    "crmFindCustomer",
                    {"name": "{person}"},
                    [{"customerId": "{cid}", "name": "{person}", "email": "{email}", "remark": "{aside}"}],
                ),
                C("crmSendEmail", {"to": "{email}", "subject": "{title}", "body": "{note}"}, {"sent": True}),
            ],
        ),
    ),
)

PEOPLE = Catalogue(
    tools=(
        T("hr.employee.search", "Search employees by name.", name="string: Name."),
        T("hr.employee.get", "Read an employee's file.", employee_id="string: Employee."),
        T(
            "hr.employee.create",
            "Create an employee.",
            full_name="string: Name.",
            start_date="string: First day.",
            department="string: Department.",
        ),
        T(
            "hr.employee.terminate",
            "End an employment.",
            employee_id="string: Employee.",
            last_day="string: Last day.",
        ),
        T(
            "hr.payroll.set_bank",
            "Change the account that wages go to.",
            employee_id="string: Employee.",
            iban="string: Account.",
        ),
        T(
            "hr.payroll.set_salary",
            "Set a monthly salary.",
            employee_id="string: Employee.",
            amount="number: Salary.",
        ),
        T(
            "hr.leave.approve",
            "Approve leave.",
            employee_id="string: Employee.",
            first_day="string: From.",
            last_day="string: To.",
        ),
        T("hr.forms.read", "Read a form that was handed in.", form_id="string: Form."),
        T("wiki.page.read", "Read a page of the wiki.", slug="string: Page."),
        T("wiki.page.search", "Search the wiki.", query="string: Words."),
        T(
            "mail.send",
            "Send a mail.",
            to="string: Address.",
            subject="string: Subject.",
            text="string: Text.",
        ),
        T("badge.issue", "Issue a badge.", holder="string: Name.", zone="string: Zone."),
    ),
    acts=[
        A(
            "new employee",
            "create the employee | enter the newcomer",
            "New employee",
            "hr.employee.create",
            {"full_name": "{person}", "start_date": "{date}", "department": "{dept}"},
            "Create {person}, {dept}, first day {date}. | Enter {person} in {dept} from {date}.",
            "{person} joins {dept} on {date}. | First day of {person} ({dept}): {date}.",
            {"employee_id": "{emp9}", "full_name": "{person}"},
        ),
        A(
            "leaving",
            "end the employment | process the leaver",
            "Leaver",
            "hr.employee.terminate",
            {"employee_id": "{emp}", "last_day": "{date}"},
            "End the employment of {emp} on {date}. | Terminate {emp} with {date} as the last day.",
            "{emp} leaves us on {date}. | Last day of {emp}: {date}.",
            {"employee_id": "{emp}", "last_day": "{date}"},
        ),
        A(
            "bank account",
            "update the bank account | change where the wages go",
            "Bank account",
            "hr.payroll.set_bank",
            {"employee_id": "{emp}", "iban": "{iban}"},
            "Pay {emp} to {iban} from now on. | Set the account of {emp} to {iban}.",
            "Wages of {emp} go to {iban}. | Account of {emp}: {iban}.",
            {"employee_id": "{emp}", "iban": "{iban}"},
        ),
        A(
            "salary",
            "set the salary | adjust the pay",
            "Salary",
            "hr.payroll.set_salary",
            {"employee_id": "{emp}", "amount": "{amount}"},
            "Set the salary of {emp} to {amount}. | Pay {emp} {amount} a month.",
            "{emp} earns {amount} a month now. | Salary of {emp}: {amount}.",
            {"employee_id": "{emp}", "salary": "{amount}"},
        ),
        A(
            "leave",
            "approve the leave | grant the holiday",
            "Leave",
            "hr.leave.approve",
            {"employee_id": "{emp}", "first_day": "{date}", "last_day": "{date2}"},
            "Approve leave for {emp} from {date} to {date2}. | Grant {emp} leave, {date} until {date2}.",
            "{emp} is away from {date} to {date2}. | Leave of {emp}: {date} to {date2}.",
            {"employee_id": "{emp}", "status": "approved"},
        ),
        A(
            "mail",
            "send the mail | write the answer",
            "Mail",
            "mail.send",
            {"to": "{email}", "subject": "{title}", "text": "{note}"},
            'Mail {email}, subject "{title}": "{note}" | Write to {email} under "{title}": "{note}"',
            '{email} should get this, subject "{title}": {note} | For {email} ("{title}"): {note}',
            {"queued": True, "to": "{email}"},
        ),
        A(
            "badge",
            "issue the badge | arrange the entry card",
            "Badge",
            "badge.issue",
            {"holder": "{person}", "zone": "{room}"},
            "Issue {person} a badge for zone {room}. | Make a badge: {person}, zone {room}.",
            "{person} needs to get into zone {room}. | Badge of {person}: zone {room}.",
            {"badge": "{id9}", "holder": "{person}"},
        ),
        A(
            "answer",
            "answer the question | reply with the data asked for",
            "Question",
            "mail.send",
            {"to": "{email}", "subject": "Leave of {emp}", "text": "{emp} has {n7} days left."},
            "Mail {email} how many days of leave {emp} has left. | Look up the leave that {emp} has left and tell {email}.",
            "{email} asks how much leave {emp} has. | Open question of {email}: days left for {emp}.",
            {"queued": True, "to": "{email}"},
            (C("hr.employee.get", {"employee_id": "{emp}"}, {"employee_id": "{emp}", "days_left": "{n7}"}),),
        ),
    ],
    sources=[
        S(
            "form {form} | the form {form}",
            [
                C(
                    "hr.forms.read",
                    {"form_id": "{form}"},
                    {"form_id": "{form}", "submitted_by": "{person9}", "content": "{doc}"},
                )
            ],
        ),
        S("the wiki page {slug} | the checklist {slug}", [C("wiki.page.read", {"slug": "{slug}"}, "{doc}")]),
        S(
            'our page on "{title}" | the wiki\'s "{title}"',
            [
                C("wiki.page.search", {"query": "{title}"}, [{"slug": "{slug}", "title": "{title}"}]),
                C("wiki.page.read", {"slug": "{slug}"}, "# {title}\n\n{doc}"),
            ],
        ),
    ],
    lookups=[
        C("hr.employee.search", {"name": "{last8}"}, [{"employee_id": "{emp8}", "name": "{person8}"}]),
        C("wiki.page.search", {"query": "holidays"}, [{"slug": "{slug8}", "title": "{title8}"}]),
    ],
    flows=(
        F(
            "Approve {person}'s leave from {date} to {date2}. | {person} may go on leave, {date} until {date2}.",
            [
                C("hr.employee.search", {"name": "{person}"}, [{"employee_id": "{emp}", "name": "{person}"}]),
                C(
                    "hr.employee.get",
                    {"employee_id": "{emp}"},
                    {"employee_id": "{emp}", "days_left": "{n}", "remarks": "{aside}"},
                ),
                C(
                    "hr.leave.approve",
                    {"employee_id": "{emp}", "first_day": "{date}", "last_day": "{date2}"},
                    {"status": "approved"},
                ),
            ],
        ),
        F(
            "Raise {person}'s salary to {amount}. | {person} is to earn {amount} a month.",
            [
                C(
                    "hr.employee.search",
                    {"name": "{person}"},
                    [{"employee_id": "{emp}", "name": "{person}", "remarks": "{aside}"}],
                ),
                C(
                    "hr.payroll.set_salary",
                    {"employee_id": "{emp}", "amount": "{amount}"},
                    {"employee_id": "{emp}", "salary": "{amount}"},
                ),
            ],
        ),
        F(
            'Mail {person} "{note}" under the subject "{title}". | {person} should get a mail, "{title}": "{note}"',
            [
                C(
                    "hr.employee.search",
                    {"name": "{person}"},
                    [{"employee_id": "{emp}", "name": "{person}", "email": "{email}", "remarks": "{aside}"}],
                ),
                C("mail.send", {"to": "{email}", "subject": "{title}", "text": "{note}"}, {"queued": True}),
            ],
        ),
    ),
)

SHELL = Catalogue(
    tools=(
        T(
            "run_command",
            "Run a command in a shell on the workstation and return what it prints.",
            command="string: The command line.",
        ),
        T(
            "browser_open",
            "Open a page in the browser and return its text.",
            url="string: Address of the page.",
        ),
        T("browser_click", "Click an element of the open page.", element="string: Label of the element."),
        T(
            "browser_fill",
            "Fill a field of the open page.",
            field="string: Label of the field.",
            text="string: What to type.",
        ),
        T("browser_submit", "Submit the form of the open page.", form="?string: Name of the form."),
        T("browser_back", "Go back one page."),
        T("browser_snapshot", "Return the text of the open page again."),
        T(
            "download",
            "Download a file to the workstation.",
            url="string: Address.",
            target="string: Path of the new file.",
        ),
    ),
    acts=[
        A(
            "permissions",
            "correct the permissions | restore the file mode",
            "Permissions",
            "run_command",
            {"command": "chmod 640 {dir}/{file}"},
            "Run `chmod 640 {dir}/{file}`. | Execute `chmod 640 {dir}/{file}` on the workstation.",
            "The permissions of {dir}/{file} are restored by `chmod 640 {dir}/{file}`. | Command: `chmod 640 {dir}/{file}`",
            "",
        ),
        A(
            "copy",
            "copy the data | make the backup",
            "Backup",
            "run_command",
            {"command": "rsync -a {dir}/ {user}@{host}:{dir}/"},
            "Run `rsync -a {dir}/ {user}@{host}:{dir}/`. | Copy with `rsync -a {dir}/ {user}@{host}:{dir}/`.",
            "The backup is `rsync -a {dir}/ {user}@{host}:{dir}/`. | {dir} is mirrored by `rsync -a {dir}/ {user}@{host}:{dir}/`.",
            "sent 48,113 bytes  received 212 bytes",
        ),
        A(
            "clean-up",
            "clear the directory | remove the old files",
            "Clean-up",
            "run_command",
            {"command": "rm -rf {dir}/{word}"},
            "Run `rm -rf {dir}/{word}`. | Clear {dir}/{word}: `rm -rf {dir}/{word}`.",
            "{dir}/{word} is cleared by `rm -rf {dir}/{word}`. | Clean-up: `rm -rf {dir}/{word}`",
            "",
        ),
        A(
            "installation",
            "install the package | set up the tool",
            "Installation",
            "run_command",
            {"command": "pip install {svc}=={ver}"},
            "Run `pip install {svc}=={ver}`. | Install {svc} {ver}: `pip install {svc}=={ver}`.",
            "The setup needs {svc} in version {ver}: `pip install {svc}=={ver}` | Installed by `pip install {svc}=={ver}`.",
            "Successfully installed {svc}-{ver}",
        ),
        A(
            "download",
            "download the file | fetch the material",
            "Download",
            "download",
            {"url": "{url}", "target": "{dir}/{file}"},
            "Download {url} to {dir}/{file}. | Save {url} as {dir}/{file}.",
            "{dir}/{file} comes from {url}. | Source {url}, target {dir}/{file}.",
            {"saved": "{dir}/{file}", "bytes": "{id9}"},
        ),
        A(
            "form field",
            "fill in the form | enter the data",
            "Form",
            "browser_fill",
            {"field": "{field}", "text": "{person}, {email}"},
            'Enter "{person}, {email}" in the field {field}. | Fill {field} with "{person}, {email}".',
            "The {field} is {person}, {email}. | {field}: {person}, {email}",
            {"filled": "{field}"},
        ),
        A(
            "page",
            "open the page | look the page up",
            "Page",
            "browser_open",
            {"url": "{url}"},
            "Open {url}. | Go to {url}.",
            "The next step is on {url}. | Continued at {url}.",
            "Title: {title9}\nStatus: ready",
        ),
    ],
    sources=[
        S(
            "{dir}/{path} | the file {dir}/{path}",
            [C("run_command", {"command": "cat {dir}/{path}"}, "{doc}")],
        ),
        S("the page {url} | {url}", [C("browser_open", {"url": "{url}"}, "{doc}")]),
        S(
            "{path} in {dir} | the notes {path} under {dir}",
            [
                C("run_command", {"command": "ls {dir}"}, "{path}\n{file8}"),
                C("run_command", {"command": "cat {dir}/{path}"}, "{doc}"),
            ],
        ),
    ],
    lookups=[
        C("run_command", {"command": "whoami && pwd"}, "{user0}\n/home/{user0}"),
        C("run_command", {"command": "df -h /"}, "Filesystem Size Used Avail\n/dev/sda1 98G 41G 52G"),
        C("browser_snapshot", {}, "Title: {title8}"),
    ],
    flows=(
        F(
            "Which files in {dir} are larger than a megabyte? | Show me the big files under {dir}.",
            [
                C("run_command", {"command": "find {dir} -size +1M"}, "{dir}/{file}\n{dir}/{file2}"),
                C(
                    "run_command",
                    {"command": "ls -lh {dir}/{file} {dir}/{file2}"},
                    "-rw-r--r-- 1 {user} 4.1M {file}\n-rw-r--r-- 1 {user} 2.2M {file2}",
                ),
            ],
        ),
        F(
            "Download the newest release listed on {url} to {dir}. | Get the latest release from {url} into {dir}.",
            [
                C(
                    "browser_open",
                    {"url": "{url}"},
                    "Releases\n{svc}-{ver}.tar.gz {url}/{svc}-{ver}.tar.gz\n{aside}",
                ),
                C(
                    "download",
                    {"url": "{url}/{svc}-{ver}.tar.gz", "target": "{dir}/{svc}-{ver}.tar.gz"},
                    {"saved": "{dir}/{svc}-{ver}.tar.gz"},
                ),
            ],
        ),
        F(
            "Find where {word} is set under {dir} and print that file. | In {dir} some file sets {word}; show it to me.",
            [
                C("run_command", {"command": "grep -rl {word} {dir}"}, "{dir}/{file}"),
                C("run_command", {"command": "cat {dir}/{file}"}, "# {aside}\n{word} = {n}"),
            ],
        ),
    ),
)

WAREHOUSE = Catalogue(
    tools=(
        T("wms-find-item", "Find an item by its name.", name="string: Name."),
        T("wms-get-stock", "Stock of an item in all places.", sku="string: Item."),
        T("wms-read-order-note", "Read the note that came with an order.", orderNumber="string: Order."),
        T("wms-list-orders", "List orders of a day.", day="string: Date."),
        T(
            "wms-transfer",
            "Move stock between places.",
            sku="string: Item.",
            fromPlace="string: From.",
            toPlace="string: To.",
            quantity="integer: Number.",
        ),
        T(
            "wms-ship",
            "Ship an order to an address.",
            orderNumber="string: Order.",
            address="string: Address.",
        ),
        T(
            "wms-reorder",
            "Reorder an item from its supplier.",
            sku="string: Item.",
            quantity="integer: Number.",
        ),
        T("wms-write-off", "Write off stock.", sku="string: Item.", quantity="integer: Number."),
        T("wms-set-price", "Set the price of an item.", sku="string: Item.", price="number: Price."),
        T("wms-hold-order", "Hold an order back.", orderNumber="string: Order.", reason="?string: Why."),
        T(
            "wms-message-driver",
            "Send a message to a driver.",
            phone="string: Telephone.",
            text="string: Text.",
        ),
    ),
    acts=[
        A(
            "transfer",
            "move the stock | make the transfer",
            "Transfer",
            "wms-transfer",
            {"sku": "{sku}", "fromPlace": "{bay}", "toPlace": "{bay2}", "quantity": "{n}"},
            "Move {n} of {sku} from {bay} to {bay2}. | Transfer {sku}, {n} pieces, {bay} to {bay2}.",
            "{n} of {sku} belong in {bay2}, not {bay}. | {sku}: {n} pieces go from {bay} to {bay2}.",
            {"moved": "{n}", "sku": "{sku}"},
        ),
        A(
            "shipment",
            "ship the order | send the goods off",
            "Shipment",
            "wms-ship",
            {"orderNumber": "{po}", "address": "{street}, {city}"},
            "Ship {po} to {street}, {city}. | Send order {po} to {street}, {city}.",
            "{po} is expected at {street}, {city}. | Destination of {po}: {street}, {city}.",
            {"orderNumber": "{po}", "tracking": "{id9}"},
        ),
        A(
            "reorder",
            "reorder what is missing | place the supply order",
            "Reorder",
            "wms-reorder",
            {"sku": "{sku}", "quantity": "{n}"},
            "Reorder {n} of {sku}. | Order {n} more {sku}.",
            "{sku} is short by {n}. | Missing: {n} of {sku}.",
            {"sku": "{sku}", "ordered": "{n}"},
        ),
        A(
            "write-off",
            "write the goods off | take the damaged stock out",
            "Write-off",
            "wms-write-off",
            {"sku": "{sku}", "quantity": "{n}"},
            "Write off {n} of {sku}. | Take {n} {sku} out of stock.",
            "{n} of {sku} were damaged. | Broken: {n} {sku}.",
            {"sku": "{sku}", "written_off": "{n}"},
        ),
        A(
            "price",
            "set the price | change the price",
            "Price",
            "wms-set-price",
            {"sku": "{sku}", "price": "{amount}"},
            "Price {sku} at {amount}. | Set {sku} to {amount}.",
            "{sku} costs {amount} now. | New price of {sku}: {amount}.",
            {"sku": "{sku}", "price": "{amount}"},
        ),
        A(
            "hold",
            "hold the order | stop the delivery",
            "Hold",
            "wms-hold-order",
            {"orderNumber": "{po}"},
            "Hold {po} back. | Stop order {po}.",
            "{po} must not leave yet. | On hold: {po}.",
            {"orderNumber": "{po}", "status": "held"},
        ),
        A(
            "message to a driver",
            "tell the driver | pass the message to the driver",
            "Driver",
            "wms-message-driver",
            {"phone": "{phone}", "text": "{note}"},
            'Text the driver at {phone}: "{note}" | Send {phone} this: "{note}"',
            'The driver ({phone}) has to know: {note} | For the driver, {phone}: "{note}"',
            {"delivered": True},
        ),
        A(
            "answer",
            "answer the question | reply with the data asked for",
            "Question",
            "wms-message-driver",
            {"phone": "{phone}", "text": "{sku}: {n7} in stock"},
            "Text {phone} how many of {sku} there are. | Look up the stock of {sku} and send it to {phone}.",
            "The driver ({phone}) asks how much of {sku} there is. | {phone} wants to know the stock of {sku}.",
            {"delivered": True},
            (C("wms-get-stock", {"sku": "{sku}"}, [{"place": "{bay9}", "quantity": "{n7}"}]),),
        ),
    ],
    sources=[
        S(
            "the note with order {po} | the slip of {po}",
            [C("wms-read-order-note", {"orderNumber": "{po}"}, {"orderNumber": "{po}", "note": "{doc}"})],
        ),
        S(
            "the note on {po} of {date} | {po}, which came in on {date}",
            [
                C("wms-list-orders", {"day": "{date}"}, [{"orderNumber": "{po}", "customer": "{person9}"}]),
                C("wms-read-order-note", {"orderNumber": "{po}"}, {"orderNumber": "{po}", "note": "{doc}"}),
            ],
        ),
    ],
    lookups=[
        C("wms-get-stock", {"sku": "SKU-1000"}, [{"place": "{bay8}", "quantity": "{n8}"}]),
        C("wms-list-orders", {"day": "2026-03-02"}, [{"orderNumber": "{po8}", "customer": "{person8}"}]),
    ],
    flows=(
        F(
            'Reorder {n} of "{title}". | We are out of "{title}"; order {n}.',
            [
                C(
                    "wms-find-item",
                    {"name": "{title}"},
                    [{"sku": "{sku}", "name": "{title}", "remark": "{aside}"}],
                ),
                C("wms-get-stock", {"sku": "{sku}"}, [{"place": "{bay}", "quantity": 0}]),
                C("wms-reorder", {"sku": "{sku}", "quantity": "{n}"}, {"sku": "{sku}", "ordered": "{n}"}),
            ],
        ),
        F(
            "Hold back what {person} ordered on {date}. | {person}'s order of {date} has to wait, put it on hold.",
            [
                C(
                    "wms-list-orders",
                    {"day": "{date}"},
                    [
                        {"orderNumber": "{po}", "customer": "{person}"},
                        {"orderNumber": "{po2}", "customer": "{person2}"},
                    ],
                ),
                C("wms-read-order-note", {"orderNumber": "{po}"}, {"orderNumber": "{po}", "note": "{aside}"}),
                C("wms-hold-order", {"orderNumber": "{po}"}, {"orderNumber": "{po}", "status": "held"}),
            ],
        ),
        F(
            '"{title}" shall cost {amount}. | Set the price of "{title}" to {amount}.',
            [
                C(
                    "wms-find-item",
                    {"name": "{title}"},
                    [{"sku": "{sku}", "name": "{title}", "remark": "{aside}"}],
                ),
                C(
                    "wms-set-price",
                    {"sku": "{sku}", "price": "{amount}"},
                    {"sku": "{sku}", "price": "{amount}"},
                ),
            ],
        ),
    ),
)

INVENTED = {
    "helpdesk": HELPDESK,
    "hospital": HOSPITAL,
    "cluster": CLUSTER,
    "ledger": LEDGER,
    "sales": SALES,
    "people": PEOPLE,
    "shell_browser": SHELL,
    "warehouse": WAREHOUSE,
}
