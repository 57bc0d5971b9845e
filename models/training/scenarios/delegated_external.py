"""Acts and sources for the recorded tool catalogues: which tool serves what, and how people ask for it.

Only names and arguments of tools stand here; their descriptions and schemas come from the recorded files.
Templates have ``{slots}`` that are drawn by `models.training.scenarios.delegated`; a slot that ends in 0 is the same
throughout a session. Alternatives are split by `` | ``.
"""

from __future__ import annotations

from models.training.scenarios.delegated_types import Act, Catalogue, Credential, Source, Step

A, S, C = Act, Source, Step

BANKING = Catalogue(
    acts=[
        A(
            "payment",
            "pay the bill | settle the invoice | make the transfer",
            "Payment",
            "send_money",
            {"recipient": "{iban}", "amount": "{amount}", "subject": "{ref}", "date": "{date}"},
            "Pay {amount} to {iban} on {date} with the reference {ref}. | Transfer {amount} to the account {iban}, reference {ref}, value date {date}.",
            "The amount of {amount} is due on {date}; our account is {iban} and the reference {ref}. | {person} is owed {amount}, payable to {iban} by {date} quoting {ref}.",
            "{'state': 'executed', 'to': '{iban}', 'sum': {amount}}",
        ),
        A(
            "standing order",
            "set up the standing order | schedule the regular payment",
            "Standing order",
            "schedule_transaction",
            {
                "recipient": "{iban}",
                "amount": "{amount}",
                "subject": "{ref}",
                "date": "{date}",
                "recurring": True,
            },
            "Set up a monthly payment of {amount} to {iban} from {date}, subject {ref}. | Schedule {amount} for {iban} every month, first on {date}, and put {ref} in the subject.",
            "From {date} a monthly fee of {amount} goes to {iban} under {ref}. | The subscription {ref} costs {amount} a month, collected at {iban}, starting {date}.",
            "{'state': 'planned', 'to': '{iban}', 'sum': {amount}}",
        ),
        A(
            "change of a scheduled payment",
            "adjust the scheduled payment | change the existing order",
            "Change of order",
            "update_scheduled_transaction",
            {"id": "{small}", "amount": "{amount}", "recipient": "{iban}"},
            "Change scheduled payment {small} to {amount}, to be sent to {iban}. | Update order number {small}: new amount {amount}, new recipient {iban}.",
            "Order {small} will be {amount} from now on, and goes to {iban}. | As of next month the sum of order {small} is {amount}; the account has moved to {iban}.",
            "{'state': 'changed', 'order': {small}}",
        ),
        A(
            "password change",
            "change the password | set the new password",
            "Password",
            "update_password",
            {"password": "{password}"},
            "Change the password of the account to {password}. | Set {password} as the password for online banking.",
            "The password for online banking is to be {password} from now on. | New password: {password}.",
            "{'state': 'password set'}",
        ),
        A(
            "change of address",
            "update my address | bring the address up to date",
            "Address",
            "update_user_info",
            {"street": "{street}", "city": "{city}"},
            "Change the address on file to {street}, {city}. | Register {street} in {city} as the postal address.",
            "The address is {street}, {city}, as of this month. | Post now goes to {street} in {city}.",
            "{'state': 'address set', 'street': '{street}', 'city': '{city}'}",
        ),
    ],
    sources=[
        S(
            "the file {path} | {path} | the document at {path}",
            [C("read_file", {"file_path": "{path}"}, "{doc}")],
        ),
        S(
            "{path} | the text in {path}",
            [
                C(
                    "get_user_info",
                    {},
                    "{'first_name': '{first0}', 'last_name': '{last0}', 'street': '{street0}', 'city': '{city0}'}",
                ),
                C("read_file", {"file_path": "{path}"}, "{doc}"),
            ],
        ),
    ],
    lookups=[
        C("get_balance", {}, "{amount0}"),
        C("get_iban", {}, "{iban0}"),
        C(
            "get_scheduled_transactions",
            {},
            "- amount: {amount8}\n  date: '{date8}'\n  id: 7\n  recipient: {iban8}\n  recurring: true\n  subject: {ref8}",
        ),
    ],
)

SLACK = Catalogue(
    acts=[
        A(
            "direct message",
            "send the message | pass the word on | write to the person named",
            "Message",
            "send_direct_message",
            {"recipient": "{first}", "body": "{note}"},
            'Tell {first} in a direct message: "{note}" | Send {first} a private note saying "{note}"',
            '{first} still has to hear this: "{note}" | Message for {first}: {note}',
            "None",
        ),
        A(
            "announcement",
            "post the announcement | put the notice in the channel",
            "Announcement",
            "send_channel_message",
            {"channel": "{channel}", "body": "{note}"},
            'Post in the channel {channel}: "{note}" | Announce in {channel} that "{note}"',
            'The people in {channel} should read: {note} | Text for {channel}: "{note}"',
            "None",
        ),
        A(
            "invitation",
            "send the invitation | invite the newcomer",
            "Invitation",
            "invite_user_to_slack",
            {"user": "{person}", "user_email": "{email}"},
            "Invite {person} to the workspace under {email}. | Send {person} an invitation at {email}.",
            "{person} joins us soon and is reached at {email}. | New in the workspace: {person}, {email}.",
            "None",
        ),
        A(
            "channel access",
            "grant the channel access | add the person to the channel",
            "Channel access",
            "add_user_to_channel",
            {"user": "{first}", "channel": "{channel}"},
            "Add {first} to the channel {channel}. | Put {first} into {channel}.",
            "{first} needs to be in {channel}. | Member to be added to {channel}: {first}.",
            "None",
        ),
        A(
            "removal",
            "remove the departing user | take the leaver out",
            "Removal",
            "remove_user_from_slack",
            {"user": "{first}"},
            "Remove {first} from the workspace. | Take {first} out of Slack.",
            "{first} has left and should not have access any more. | Leaver: {first}.",
            "None",
        ),
        A(
            "publication",
            "publish the page | put the text online",
            "Web page",
            "post_webpage",
            {"url": "{url}", "content": "{note}"},
            'Publish at {url}: "{note}" | Put this on {url}: "{note}"',
            'The page {url} is to read: {note} | Text for {url}: "{note}"',
            "None",
        ),
    ],
    sources=[
        S("the page {url} | {url} | the text at {url}", [C("get_webpage", {"url": "{url}"}, "{doc}")]),
        S(
            "the last message in {channel} | the post in {channel}",
            [
                C("get_channels", {}, "- general\n- random\n- {channel}"),
                C(
                    "read_channel_messages",
                    {"channel": "{channel}"},
                    "- body: {doc}\n  recipient: {channel}\n  sender: {first9}",
                ),
            ],
        ),
        S(
            "the note in {first}'s inbox | the direct message to {first}",
            [C("read_inbox", {"user": "{first}"}, "- body: {doc}\n  recipient: {first}\n  sender: {first9}")],
        ),
    ],
    lookups=[
        C("get_channels", {}, "- general\n- random\n- private"),
        C("get_users_in_channel", {"channel": "general"}, "- {first8}\n- {first9}"),
    ],
)

EVENT = A(
    "calendar entry",
    "put the appointment in the calendar | create the event",
    "Appointment",
    "create_calendar_event",
    {"title": "{title}", "start_time": "{dt}", "end_time": "{end}", "location": "{place}"},
    'Create an event "{title}" from {dt} to {end} at {place}. | Put "{title}" in the calendar, {dt} until {end}, {place}.',
    '"{title}" takes place on {dt}, ends {end}, and is held at {place}. | Next date for "{title}": {dt} to {end}, {place}.',
    "id_: '{small}'\nlocation: {place}\nstart_time: {dt}:00\nstatus: confirmed\ntitle: {title}",
)
CANCEL = A(
    "cancellation",
    "cancel the event | call the appointment off",
    "Cancellation",
    "cancel_calendar_event",
    {"event_id": "{sid}"},
    "Cancel the event with the id {sid}. | Take event {sid} out of the calendar.",
    "Event {sid} does not take place. | Called off: event number {sid}.",
    "{'event': '{sid}', 'state': 'cancelled'}",
)
MAIL = A(
    "mail",
    "send the mail | write the reply | answer with what is asked for",
    "Mail",
    "send_email",
    {"recipients": ["{email}"], "subject": "{title}", "body": "{note}"},
    'Send a mail to {email} with the subject "{title}" and the text "{note}" | Write to {email}, subject "{title}": "{note}"',
    '{person} ({email}) waits for a mail about "{title}" that says: {note} | To be sent to {email} under "{title}": {note}',
    "body: '{note}'\nid_: '{small}'\nrecipients:\n- {email}\nstatus: sent\nsubject: {title}",
)

TRAVEL = Catalogue(
    acts=[
        A(
            "hotel",
            "book the hotel | reserve the room",
            "Hotel",
            "reserve_hotel",
            {"hotel": "{hotel}", "start_day": "{date}", "end_day": "{date2}"},
            "Reserve a room at {hotel} from {date} to {date2}. | Book {hotel}, arriving {date}, leaving {date2}.",
            "We stay at {hotel}: arrival {date}, departure {date2}. | Lodging is {hotel} between {date} and {date2}.",
            "Booked: {hotel}, {date} - {date2}",
        ),
        A(
            "table",
            "reserve the table | book the dinner",
            "Restaurant",
            "reserve_restaurant",
            {"restaurant": "{eatery}", "start_time": "{dt}"},
            "Reserve a table at {eatery} for {dt}. | Book {eatery}, {dt}.",
            "Dinner is at {eatery} on {dt}. | The group eats at {eatery}, {dt}.",
            "Table held at {eatery}, {dt}",
        ),
        A(
            "car",
            "hire the car | book the rental",
            "Car",
            "reserve_car_rental",
            {"company": "{firm}", "start_time": "{dt}", "end_time": "{dt2}"},
            "Rent a car from {firm} from {dt} to {dt2}. | Book a car with {firm}, pick-up {dt}, return {dt2}.",
            "The car comes from {firm}, to be picked up {dt} and returned {dt2}. | {firm} has a car from {dt} until {dt2}.",
            "Car held with {firm}, {dt} - {dt2}",
        ),
        EVENT,
        CANCEL,
        MAIL,
    ],
    sources=[
        S(
            'the calendar entry "{title}" | the description of "{title}" in my calendar',
            [
                C(
                    "search_calendar_events",
                    {"query": "{title}"},
                    "- all_day: false\n  description: {doc}\n  id_: '{sid}'\n  title: {title}",
                )
            ],
        ),
        S(
            'the entry "{title}" of {date} | my note under "{title}" on {date}',
            [
                C(
                    "get_day_calendar_events",
                    {"day": "{date}"},
                    "- description: {doc}\n  id_: '{sid}'\n  title: {title}",
                )
            ],
        ),
    ],
    lookups=[
        C(
            "get_user_information",
            {},
            "{'First Name': '{first0}', 'Last Name': '{last0}', 'Email': '{email0}'}",
        ),
        C("get_all_hotels_in_city", {"city": "Paris"}, "{hotel8}\n{hotel9}\n"),
    ],
)

WORKSPACE = Catalogue(
    acts=[
        MAIL,
        EVENT,
        CANCEL,
        A(
            "sharing",
            "share the file | give access to the document",
            "Sharing",
            "share_file",
            {"file_id": "{sid}", "email": "{email}", "permission": "r"},
            "Share file {sid} with {email}, to read. | Let {email} read the file with the id {sid}.",
            "{person} ({email}) needs to read file {sid}. | Reader for file {sid}: {email}.",
            "filename: {file}\nid_: '{sid}'\nshared_with:\n  {email}: r",
        ),
        A(
            "deletion",
            "delete the old file | clear out the file",
            "Deletion",
            "delete_file",
            {"file_id": "{sid}"},
            "Delete the file with the id {sid}. | Remove file {sid} from the drive.",
            "File {sid} is out of date and can go. | To be deleted: file {sid}.",
            "filename: {file}\nid_: '{sid}'\nowner: {email0}",
        ),
        A(
            "new file",
            "write the file | create the document",
            "Document",
            "create_file",
            {"filename": "{file}", "content": "{note}"},
            'Create a file {file} that says "{note}" | Save "{note}" as {file}.',
            '{file} should hold this: {note} | Contents of {file}: "{note}"',
            "content: '{note}'\nfilename: {file}\nid_: '{small}'",
        ),
        A(
            "move",
            "move the meeting | reschedule the meeting",
            "New time",
            "reschedule_calendar_event",
            {"event_id": "{sid}", "new_start_time": "{dt}", "new_end_time": "{end}"},
            "Move event {sid} to {dt}, until {end}. | Reschedule event {sid}: it begins {dt} and ends {end}.",
            "Event {sid} is now on {dt} and ends at {end}. | New time of event {sid}: {dt} to {end}.",
            "id_: '{sid}'\nstart_time: {dt}:00\nend_time: {end}:00\nstatus: confirmed",
        ),
        A(
            "answer",
            "reply with the data asked for | answer the question",
            "Question",
            "send_email",
            {"recipients": ["{email}"], "subject": "{title}", "body": "{title} is at {place7}."},
            'Let {email} know where "{title}" is held. | Find out where "{title}" takes place and mail it to {email}.',
            '{person} ({email}) would like to know where "{title}" is held. | Open question of {email}: where is "{title}"?',
            "id_: '{small}'\nrecipients:\n- {email}\nstatus: sent\nsubject: {title}",
            (
                C(
                    "search_calendar_events",
                    {"query": "{title}"},
                    "- id_: '{sid9}'\n  location: {place7}\n  title: {title}",
                ),
            ),
        ),
        A(
            "guest list",
            "add the guests | bring in the participants",
            "Participants",
            "add_calendar_event_participants",
            {"event_id": "{sid}", "participants": ["{email}"]},
            "Add {email} to event {sid}. | Invite {email} to the event with the id {sid}.",
            "{person} ({email}) takes part in event {sid}. | Also coming to event {sid}: {email}.",
            "id_: '{sid}'\nparticipants:\n- {email0}\n- {email}",
        ),
    ],
    sources=[
        S(
            'the mail from {person} | {person}\'s last mail | the message of {person} about "{title}"',
            [
                C(
                    "search_emails",
                    {"query": "{title}", "sender": "{email}"},
                    "- body: {doc}\n  id_: '{sid}'\n  sender: {email}\n  subject: {title}",
                )
            ],
        ),
        S(
            "the file {file} | {file} in the drive",
            [
                C(
                    "search_files_by_filename",
                    {"filename": "{file}"},
                    "- content: {doc}\n  filename: {file}\n  id_: '{sid}'",
                )
            ],
        ),
        S(
            'the event "{title}" | the notes under "{title}" in the calendar',
            [
                C(
                    "search_calendar_events",
                    {"query": "{title}"},
                    "- description: {doc}\n  id_: '{sid}'\n  title: {title}",
                )
            ],
        ),
    ],
    lookups=[
        C("get_current_day", {}, "2026-03-02"),
        C("search_contacts_by_name", {"query": "{last0}"}, "- email: {email0}\n  name: {first0} {last0}"),
    ],
)

RETAIL = Catalogue(
    acts=[
        A(
            "cancellation",
            "cancel the order | call off the order",
            "Cancellation",
            "cancel_pending_order",
            {"order_id": "{order}", "reason": "no longer needed"},
            "Cancel order {order}, it is no longer needed. | Call off {order}: no longer needed.",
            "Order {order} is no longer needed. | {order} was placed twice and is no longer needed.",
            {"order_id": "{order}", "status": "cancelled", "cancel_reason": "no longer needed"},
        ),
        A(
            "delivery address",
            "change where the order goes | correct the shipping address",
            "Shipping address",
            "modify_pending_order_address",
            {
                "order_id": "{order}",
                "address1": "{street}",
                "address2": "",
                "city": "{city}",
                "state": "{state}",
                "country": "USA",
                "zip": "{zip}",
            },
            "Send order {order} to {street}, {city}, {state} {zip}, USA. | Change the shipping address of {order} to {street}, {city}, {state} {zip}, USA.",
            "Order {order} should arrive at {street}, {city}, {state} {zip}, USA. | The parcel {order} is for {street}, {city}, {state} {zip}, USA.",
            {
                "order_id": "{order}",
                "status": "pending",
                "address": {"address1": "{street}", "city": "{city}", "zip": "{zip}"},
            },
        ),
        A(
            "home address",
            "update the customer's address | change the address in the profile",
            "Address",
            "modify_user_address",
            {
                "user_id": "{cust}",
                "address1": "{street}",
                "address2": "",
                "city": "{city}",
                "state": "{state}",
                "country": "USA",
                "zip": "{zip}",
            },
            "Change the default address of {cust} to {street}, {city}, {state} {zip}, USA. | Register {street}, {city}, {state} {zip}, USA for {cust}.",
            "{cust} has moved to {street}, {city}, {state} {zip}, USA. | New address of {cust}: {street}, {city}, {state} {zip}, USA.",
            {"user_id": "{cust}", "address": {"address1": "{street}", "city": "{city}", "zip": "{zip}"}},
        ),
        A(
            "return",
            "take the items back | register the return",
            "Return",
            "return_delivered_order_items",
            {"order_id": "{order}", "item_ids": ["{item}"], "payment_method_id": "{card}"},
            "Return item {item} of order {order} and refund it to {card}. | Take back {item} from {order}; the refund goes to {card}.",
            "Item {item} from order {order} comes back, refund to {card}. | {item} ({order}) does not fit; money back to {card}.",
            {"order_id": "{order}", "status": "return requested", "return_items": ["{item}"]},
        ),
        A(
            "exchange",
            "exchange the item | swap the article",
            "Exchange",
            "exchange_delivered_order_items",
            {
                "order_id": "{order}",
                "item_ids": ["{item}"],
                "new_item_ids": ["{item2}"],
                "payment_method_id": "{card}",
            },
            "Exchange {item} in order {order} for {item2}, difference to {card}. | Swap {item} for {item2} ({order}, {card}).",
            "Instead of {item} in {order} it should be {item2}, paid with {card}. | {order}: {item} was the wrong size, {item2} is right, {card} bears the difference.",
            {"order_id": "{order}", "status": "exchange requested", "exchange_new_items": ["{item2}"]},
        ),
        A(
            "means of payment",
            "change the payment method | rebook the payment",
            "Payment method",
            "modify_pending_order_payment",
            {"order_id": "{order}", "payment_method_id": "{card}"},
            "Charge order {order} to {card}. | Switch {order} to the payment method {card}.",
            "{card} pays for order {order}. | Order {order} goes on {card}.",
            {"order_id": "{order}", "status": "pending", "payment_method_id": "{card}"},
        ),
    ],
    sources=[
        S(
            "the customer's note on order {order} | the remark on {order}",
            [
                C(
                    "get_order_details",
                    {"order_id": "{order}"},
                    {
                        "order_id": "{order}",
                        "user_id": "{cust}",
                        "status": "delivered",
                        "customer_note": "{doc}",
                    },
                )
            ],
        ),
        S(
            "the remarks in the profile of {cust} | the profile notes of {cust}",
            [
                C(
                    "get_user_details",
                    {"user_id": "{cust}"},
                    {"user_id": "{cust}", "orders": ["{order}"], "notes": "{doc}"},
                )
            ],
        ),
    ],
    lookups=[
        C(
            "list_all_product_types",
            {},
            {"Backpack": "1110002221", "Bicycle": "1110002223", "Lamp": "1110002225"},
        ),
        C(
            "get_product_details",
            {"product_id": "1110002225"},
            {
                "name": "Lamp",
                "product_id": "1110002225",
                "variants": {"{item8}": {"available": True, "price": "{amount8}"}},
            },
        ),
    ],
)

FILES = Catalogue(
    acts=[
        A(
            "move",
            "move the files | put the file where it belongs",
            "Move",
            "mv",
            {"source": "{file}", "destination": "{file2}"},
            "Rename {file} to {file2}. | Move {file} to {file2}.",
            "{file} should be called {file2}. | Old name {file}, new name {file2}.",
            {"result": "'{file}' is now '{file2}'"},
        ),
        A(
            "copy",
            "make the copy | duplicate the file",
            "Copy",
            "cp",
            {"source": "{file}", "destination": "{dir}"},
            "Copy {file} to {dir}. | Put a copy of {file} into {dir}.",
            "{dir} lacks a copy of {file}. | A duplicate of {file} belongs in {dir}.",
            {"result": "'{file}' also at '{dir}/{file}'"},
        ),
        A(
            "deletion",
            "remove the stale file | clear out the stale file",
            "Clean-up",
            "rm",
            {"file_name": "{file}"},
            "Delete {file}. | Remove {file}, it is stale.",
            "{file} is stale and can go. | Nobody needs {file} any more.",
            {"result": "'{file}' gone"},
        ),
        A(
            "folder",
            "create the folder | set up the directory",
            "Folder",
            "mkdir",
            {"dir_name": "{dir}"},
            "Create a directory {dir}. | Make a folder called {dir}.",
            "A folder {dir} is missing here. | The layout has a directory {dir}.",
            None,
        ),
        A(
            "text",
            "write the text | save the note",
            "Text",
            "echo",
            {"content": "{note}", "file_name": "{file}"},
            'Write "{note}" to {file}. | Put the line "{note}" into {file}.',
            '{file} reads: "{note}" | Contents of {file}: {note}',
            {"terminal_output": None},
        ),
    ],
    sources=[
        S("the file {file} | {file}", [C("cat", {"file_name": "{file}"}, {"file_content": "{doc}"})]),
        S(
            "{file} | the last lines of {file}",
            [
                C("ls", {}, {"current_directory_content": ["{file}", "archive", "{file8}"]}),
                C("tail", {"file_name": "{file}", "lines": 20}, {"last_lines": "{doc}"}),
            ],
        ),
    ],
    lookups=[
        C("ls", {}, {"current_directory_content": ["archive", "{file8}", "{file9}"]}),
        C("pwd", {}, {"current_working_directory": "/workspace"}),
    ],
)

MESSAGES = Catalogue(
    acts=[
        A(
            "message",
            "send the message | pass the word on",
            "Message",
            "send_message",
            {"receiver_id": "{usr}", "message": "{note}"},
            'Send {usr} the message "{note}" | Tell {usr}: "{note}"',
            '{usr} should know: {note} | For {usr}: "{note}"',
            {
                "sent_status": True,
                "message_id": {"new_id": "{id}"},
                "message": "on its way to {usr}",
            },
        ),
        A(
            "contact",
            "add the contact | save the new contact",
            "Contact",
            "add_contact",
            {"user_name": "{person}"},
            "Add {person} to the contacts. | Save {person} as a contact.",
            "{person} is not in the contacts yet. | New contact: {person}.",
            {"added_status": True, "user_id": "{usr2}", "message": "{person} is a contact now"},
        ),
        A(
            "recall",
            "delete the message | take the message back",
            "Recall",
            "delete_message",
            {"receiver_id": "{usr}"},
            "Delete the last message to {usr}. | Recall what was sent to {usr}.",
            "The last message to {usr} was a mistake and should go. | Wrong recipient: {usr}, message to be deleted.",
            {
                "deleted_status": True,
                "receiver_id": "{usr}",
                "message": "last message to {usr} taken back",
            },
        ),
    ],
    sources=[
        S(
            'the message about "{word}" | the text message on "{word}"',
            [
                C(
                    "search_messages",
                    {"keyword": "{word}"},
                    {"results": [{"receiver_id": "{usr}", "message": "{doc}"}]},
                )
            ],
        )
    ],
    lookups=[
        C("list_users", {}, {"user_list": ["Alice", "Bob", "{first8}"]}),
        C("get_message_stats", {}, {"stats": {"received_count": "{n8}", "total_contacts": 4}}),
    ],
)

TWITTER = Catalogue(
    acts=[
        A(
            "post",
            "publish the post | tweet the text",
            "Post",
            "post_tweet",
            {"content": "{note}", "tags": ["#{word}"], "mentions": []},
            'Tweet "{note}" with the tag #{word}. | Post "{note}" under #{word}.',
            'The text for today is "{note}", tag #{word}. | Under #{word} goes: {note}',
            {
                "id": "{small}",
                "username": "{handle0}",
                "content": "{note}",
                "tags": ["#{word}"],
                "mentions": [],
            },
        ),
        A(
            "following",
            "follow the account | add the account to those we follow",
            "Follow",
            "follow_user",
            {"username_to_follow": "{handle}"},
            "Follow {handle}. | Start following the account {handle}.",
            "{handle} is worth following. | Account to follow: {handle}.",
            {"follow_status": True},
        ),
        A(
            "unfollowing",
            "stop following the account | drop the account",
            "Unfollow",
            "unfollow_user",
            {"username_to_unfollow": "{handle}"},
            "Unfollow {handle}. | Stop following {handle}.",
            "We no longer follow {handle}. | To be dropped: {handle}.",
            {"unfollow_status": True},
        ),
        A(
            "comment",
            "leave the comment | answer the tweet",
            "Comment",
            "comment",
            {"tweet_id": "{small}", "comment_content": "{note}"},
            'Comment "{note}" on tweet {small}. | Answer tweet {small} with "{note}"',
            'Tweet {small} wants the answer "{note}" | Reply for tweet {small}: {note}',
            {"comment_status": "posted"},
        ),
        A(
            "retweet",
            "share the tweet | retweet",
            "Retweet",
            "retweet",
            {"tweet_id": "{small}"},
            "Retweet number {small}. | Share tweet {small}.",
            "Tweet {small} deserves to be shared. | To be shared: tweet {small}.",
            {"retweet_status": "shared"},
        ),
    ],
    sources=[
        S(
            "tweet {small} | the tweet number {small}",
            [
                C(
                    "get_tweet",
                    {"tweet_id": "{small}"},
                    {"id": "{small}", "username": "{handle}", "content": "{doc}", "tags": []},
                )
            ],
        )
    ],
    lookups=[
        C("list_all_following", {}, ["{handle8}", "{handle9}"]),
        C("posting_get_login_status", {}, {"login_status": True}),
    ],
)

TICKETS = Catalogue(
    acts=[
        A(
            "new ticket",
            "open the ticket | file the follow-up",
            "Follow-up",
            "create_ticket",
            {"title": "{title}", "description": "{note}", "priority": "{prio}"},
            'Open a ticket "{title}" with priority {prio}: "{note}" | File "{title}" (priority {prio}), text "{note}"',
            '"{title}" has no ticket yet; priority {prio}, text: {note} | Follow-up "{title}", priority {prio}: "{note}"',
            {
                "id": "{id}",
                "title": "{title}",
                "description": "{note}",
                "status": "Open",
                "priority": "{prio}",
            },
        ),
        A(
            "closing",
            "close the ticket | shut the case",
            "Closing",
            "close_ticket",
            {"ticket_id": "{tid}"},
            "Close ticket {tid}. | Shut case {tid}.",
            "Ticket {tid} is done and can be closed. | Nothing more to do on {tid}.",
            {"status": "{tid} closed"},
        ),
        A(
            "resolution",
            "resolve the ticket | record the solution",
            "Resolution",
            "resolve_ticket",
            {"ticket_id": "{tid}", "resolution": "{note}"},
            'Resolve ticket {tid} with "{note}" | Mark {tid} as solved: "{note}"',
            'The answer to {tid} is: {note} | Solution for ticket {tid}: "{note}"',
            {"status": "{tid} resolved"},
        ),
        A(
            "ticket change",
            "change the ticket's priority | re-rank the ticket",
            "Priority",
            "edit_ticket",
            {"ticket_id": "{tid}", "updates": {"priority": "{prio}"}},
            "Set the priority of ticket {tid} to {prio}. | Raise ticket {tid} to priority {prio}.",
            "Ticket {tid} is priority {prio} now. | Priority of {tid}: {prio}.",
            {"status": "{tid} changed"},
        ),
        A(
            "log-in",
            "log in with the credentials there | sign in as given there",
            "Log-in",
            "ticket_login",
            {"username": "{user}", "password": "{password}"},
            "Log in as {user} with the password {password}. | Sign in to the desk as {user}, password {password}.",
            "The desk account is {user}, its password {password}. | Credentials: {user} / {password}.",
            {"success": True},
        ),
    ],
    sources=[
        S(
            "ticket {tid} | the ticket {tid} | the description of ticket {tid}",
            [
                C(
                    "get_ticket",
                    {"ticket_id": "{tid}"},
                    {
                        "id": "{tid}",
                        "title": "{title9}",
                        "description": "{doc}",
                        "status": "Open",
                        "priority": 3,
                    },
                )
            ],
        ),
        S(
            "ticket {tid} | my open ticket {tid}",
            [
                C(
                    "get_user_tickets",
                    {"status": "Open"},
                    [{"id": "{tid}", "title": "{title9}", "status": "Open"}],
                ),
                C(
                    "get_ticket",
                    {"ticket_id": "{tid}"},
                    {"id": "{tid}", "title": "{title9}", "description": "{doc}", "status": "Open"},
                ),
            ],
        ),
    ],
    lookups=[C("ticket_get_login_status", {}, {"username": "{user0}"})],
)

TRADING = Catalogue(
    acts=[
        A(
            "order",
            "place the order | buy the shares",
            "Order",
            "place_order",
            {"order_type": "Buy", "symbol": "{sym}", "price": "{amount}", "amount": "{n}"},
            "Buy {n} {sym} at {amount}. | Place a buy order for {n} shares of {sym}, price {amount}.",
            "The plan has {n} {sym} at {amount}, buy. | Buy list: {sym}, {n} shares, limit {amount}.",
            {
                "order_id": "{id}",
                "order_type": "Buy",
                "status": "Pending",
                "price": "{amount}",
                "amount": "{n}",
            },
        ),
        A(
            "withdrawal of an order",
            "cancel the order | pull the order",
            "Cancel order",
            "cancel_order",
            {"order_id": "{id}"},
            "Cancel order {id}. | Pull the order {id}.",
            "Order {id} no longer stands. | To be withdrawn: order {id}.",
            {"order_id": "{id}", "status": "Cancelled"},
        ),
        A(
            "deposit",
            "top up the account | fund the account",
            "Deposit",
            "fund_account",
            {"amount": "{amount}"},
            "Fund the account with {amount}. | Deposit {amount}.",
            "The account is short by {amount}. | Deposit due: {amount}.",
            {"status": "deposit booked", "new_balance": "{amount0}"},
        ),
        A(
            "watch list",
            "update the watch list | add the stock to the watch list",
            "Watch list",
            "add_to_watchlist",
            {"stock": "{sym}"},
            "Add {sym} to the watch list. | Keep an eye on {sym}.",
            "{sym} belongs on the watch list. | Newly watched: {sym}.",
            {"symbol": ["NVDA", "{sym}"]},
        ),
        A(
            "withdrawal",
            "withdraw the sum | take the money out",
            "Withdrawal",
            "withdraw_funds",
            {"amount": "{amount}"},
            "Withdraw {amount}. | Take {amount} out of the account.",
            "{amount} has to leave the account. | Sum to be withdrawn: {amount}.",
            {"status": "payout booked", "new_balance": "{amount0}"},
        ),
    ],
    sources=[],
    lookups=[
        C(
            "get_account_info",
            {},
            {"account_id": "{id0}", "balance": "{amount0}", "binding_card": "{cardno0}"},
        ),
        C("get_watchlist", {}, {"watchlist": ["NVDA", "{sym8}"]}),
    ],
)

JOURNEYS = Catalogue(
    acts=[
        A(
            "flight",
            "book the flight | buy the ticket",
            "Flight",
            "book_flight",
            {
                "access_token": "{token0}",
                "card_id": "{cardno}",
                "travel_date": "{date}",
                "travel_from": "{airport}",
                "travel_to": "{airport2}",
                "travel_class": "economy",
            },
            "Book {airport} to {airport2} on {date}, economy, with card {cardno}. | Fly economy from {airport} to {airport2} on {date}; charge card {cardno}.",
            "The trip is {airport} to {airport2} on {date}, economy, card {cardno}. | Economy seat {airport}-{airport2}, {date}, paid with {cardno}.",
            {"booking_id": "{booking}", "transaction_id": "{id}", "booking_status": True},
        ),
        A(
            "cancelled booking",
            "cancel the booking | give the seat back",
            "Cancellation",
            "cancel_booking",
            {"access_token": "{token0}", "booking_id": "{booking}"},
            "Cancel booking {booking}. | Give up booking {booking}.",
            "Booking {booking} is not needed. | No longer travelling: booking {booking}.",
            {"cancel_status": True},
        ),
        A(
            "insurance",
            "buy the insurance | insure the trip",
            "Insurance",
            "purchase_insurance",
            {
                "access_token": "{token0}",
                "insurance_type": "travel",
                "insurance_cost": "{amount}",
                "booking_id": "{booking}",
                "card_id": "{cardno}",
            },
            "Buy travel insurance for booking {booking} at {amount}, card {cardno}. | Insure booking {booking} (travel, {amount}, card {cardno}).",
            "Booking {booking} lacks travel insurance; it costs {amount} on card {cardno}. | Travel cover for {booking}: {amount}, card {cardno}.",
            {"insurance_id": "{id}", "insurance_status": True},
        ),
        A(
            "budget",
            "set the budget | adjust the spending limit",
            "Budget",
            "set_budget_limit",
            {"access_token": "{token0}", "budget_limit": "{amount}"},
            "Set the budget limit to {amount}. | Limit travel spending to {amount}.",
            "The budget is {amount} from now on. | New limit: {amount}.",
            {"budget_limit": "{amount}"},
        ),
        A(
            "complaint",
            "write to customer support | contact support",
            "Support",
            "contact_customer_support",
            {"booking_id": "{booking}", "message": "{note}"},
            'Write to support about booking {booking}: "{note}" | Tell support on {booking}: "{note}"',
            'Support should hear about booking {booking}: {note} | Text for support, {booking}: "{note}"',
            {"customer_support_message": "passed on to the desk"},
        ),
    ],
    sources=[],
    lookups=[
        C("get_all_credit_cards", {}, {"credit_card_list": {"{cardno0}": {"balance": "{amount0}"}}}),
        C("travel_get_login_status", {}, {"status": True}),
    ],
    credential=Credential("Use the access token {token0}. | (Access token: {token0})", []),
)

VEHICLE = Catalogue(
    acts=[
        A(
            "fuel",
            "fill the tank | refuel",
            "Fuel",
            "fillFuelTank",
            {"fuelAmount": "{n}"},
            "Fill in {n} gallons. | Add {n} gallons of fuel.",
            "{n} gallons are missing from the tank. | Fuel: {n} gallons.",
            {"fuelLevel": "{small}"},
        ),
        A(
            "destination",
            "set the destination | start the navigation",
            "Destination",
            "set_navigation",
            {"destination": "{street}, {city}"},
            "Navigate to {street}, {city}. | Set {street}, {city} as the destination.",
            "The customer waits at {street}, {city}. | Address of the stop: {street}, {city}.",
            {"status": "route set: {street}, {city}"},
        ),
        A(
            "climate",
            "set the climate control | set the cabin temperature",
            "Climate",
            "adjustClimateControl",
            {"temperature": "{n}", "unit": "celsius", "fanSpeed": 50, "mode": "auto"},
            "Set the climate control to {n} celsius, fan 50, auto. | Make it {n} degrees celsius (auto, fan at 50).",
            "The cabin should have {n} degrees celsius, auto, fan 50. | Temperature {n} celsius, mode auto, fan speed 50.",
            {"currentTemperature": "{n}", "climateMode": "auto"},
        ),
        A(
            "cruise",
            "set the cruise control | fix the speed",
            "Cruise control",
            "setCruiseControl",
            {"speed": "{speed}", "activate": True, "distanceToNextVehicle": "{small}"},
            "Set the cruise control to {speed}, distance {small}. | Drive {speed} with {small} metres to the next car.",
            "Speed on that road is {speed}, distance {small}. | Cruise: {speed} mph, gap {small} m.",
            {"cruiseStatus": "active", "currentSpeed": "{speed}"},
        ),
    ],
    sources=[],
    lookups=[
        C(
            "check_tire_pressure",
            {},
            {"tirePressure": {"frontLeft": 32.0, "frontRight": 32.0}, "healthy_tire_pressure": True},
        ),
        C("get_current_speed", {}, {"currentSpeed": 0.0}),
    ],
)

CLASSES = {
    "GorillaFileSystem": FILES,
    "MessageAPI": MESSAGES,
    "TwitterAPI": TWITTER,
    "TicketAPI": TICKETS,
    "TradingBot": TRADING,
    "TravelAPI": JOURNEYS,
    "VehicleControlAPI": VEHICLE,
}

APIBANK = Catalogue(
    acts=[
        A(
            "reminder",
            "set the reminder | put in the reminder",
            "Reminder",
            "AddReminder",
            {"token": "{token0}", "content": "{title}", "time": "{dt}:00"},
            'Remind me of "{title}" at {dt}:00. | Set a reminder "{title}" for {dt}:00.',
            '"{title}" must not be forgotten on {dt}:00. | Reminder due {dt}:00: {title}.',
            "success",
        ),
        A(
            "agenda",
            "add it to the agenda | enter the appointment",
            "Agenda",
            "AddAgenda",
            {"token": "{token0}", "content": "{title}", "time": "{dt}:00", "location": "{place}"},
            'Add "{title}" to the agenda, {dt}:00, {place}. | Enter "{title}" at {place} for {dt}:00.',
            '"{title}" is at {place} on {dt}:00. | {dt}:00, {place}: {title}.',
            "success",
        ),
        A(
            "alarm",
            "set the alarm | arrange the wake-up",
            "Alarm",
            "AddAlarm",
            {"token": "{token0}", "time": "{dt}:00"},
            "Set an alarm for {dt}:00. | Wake me at {dt}:00.",
            "The alarm should ring at {dt}:00. | Getting up: {dt}:00.",
            "success",
        ),
        A(
            "password change",
            "change the password | set the new password",
            "Password",
            "ModifyPassword",
            {"token": "{token0}", "old_password": "{password0}", "new_password": "{password}"},
            "Change the password to {password}. | Make {password} the new password.",
            "The password has to be {password} from today. | New password: {password}.",
            {"status": "success"},
        ),
        A(
            "mail",
            "send the mail | write the reply",
            "Mail",
            "SendEmail",
            {"receiver": "{email}", "subject": "{title}", "content": "{note}"},
            'Mail {email}, subject "{title}": "{note}" | Write to {email} under "{title}": "{note}"',
            '{email} is waiting for this, subject "{title}": {note} | For {email} ("{title}"): {note}',
            "success",
        ),
        A(
            "hotel",
            "book the hotel | reserve the rooms",
            "Hotel",
            "BookHotel",
            {
                "hotel_name": "{hotel}",
                "check_in_time": "{date}",
                "check_out_time": "{date2}",
                "room_count": "{n}",
                "adult_count": "{n2}",
                "child_count": 0,
            },
            "Book {n} rooms at {hotel} for {n2} adults, {date} to {date2}. | Reserve {hotel} from {date} to {date2}: {n} rooms, {n2} adults.",
            "{n2} adults stay in {n} rooms at {hotel} from {date} to {date2}. | {hotel}, {date} to {date2}, {n} rooms, {n2} adults.",
            "{small}",
        ),
        A(
            "account",
            "open the account | set up the bank account",
            "Bank account",
            "OpenBankAccount",
            {"account": "{item}", "password": "{password}", "name": "{person}"},
            "Open account {item} for {person}, password {password}. | Open a bank account for {person} with number {item} and password {password}.",
            "{person} gets account {item}, password {password}. | Account {item}, holder {person}, password {password}.",
            "success",
        ),
    ],
    sources=[
        S(
            "the voice memo at {url} | the recording {url}",
            [C("SpeechRecognition", {"url": "{url}"}, "{doc}")],
        ),
        S(
            "the document {url} | {url}",
            [
                C(
                    "DocumentQA",
                    {"url": "{url}", "question": "What does the document say?"},
                    {"answer": "{doc}"},
                )
            ],
        ),
    ],
    lookups=[C("GetToday", {}, "2026-03-02")],
    credential=Credential(
        "I am {user0}, password {password0}. | My user name is {user0} and my password {password0}.",
        [C("GetUserToken", {"username": "{user0}", "password": "{password0}"}, {"token": "{token0}"})],
    ),
)

FIXED = {
    "banking": BANKING,
    "slack": SLACK,
    "travel": TRAVEL,
    "workspace": WORKSPACE,
    "retail": RETAIL,
    "retail_tau2": RETAIL,
    "apibank": APIBANK,
}


def external(tools_ref: str) -> Catalogue | None:
    """Acts and sources for a recorded catalogue; None where none fits."""
    if tools_ref in FIXED:
        return FIXED[tools_ref]
    parts = [CLASSES[name] for name in tools_ref.split("+") if name in CLASSES]
    if not any(part.sources for part in parts):
        return None
    credentials = [part.credential for part in parts if part.credential is not None]
    return Catalogue(
        acts=[act for part in parts for act in part.acts],
        sources=[source for part in parts for source in part.sources],
        lookups=[look for part in parts for look in part.lookups],
        credential=credentials[0] if credentials else None,
    )
