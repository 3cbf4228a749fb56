"""The Chinese of the OpenAPI document: each summary and description by its English."""

from collections.abc import Mapping

CHINESE: Mapping[str, str] = {
    (
        "Accounts and their todos.\n"
        "\n"
        "1. `POST /users/` opens an account.\n"
        "2. `POST /token` signs in with it; in [Swagger UI](docs), the button **Authorize** does.\n"
        "3. `/todos/` is yours alone.\n"
        "\n"
        "Every path works with and without its trailing slash. Every error is an\n"
        "[RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem document in English or Chinese, by "
        "`Accept-Language`: decide\n"
        "by its `code`. Times are [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) with an offset, and come "
        "back in UTC.\n"
    ): (
        "账户及其待办事项。\n"
        "\n"
        "1. `POST /users/` 注册账户。\n"
        "2. `POST /token` 登录；在 [Swagger UI](docs) 中点击 **Authorize** 即可。\n"
        "3. `/todos/` 只属于您自己。\n"
        "\n"
        "所有路径带不带末尾斜杠都可以。所有错误都是 [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) "
        "问题文档，按 `Accept-Language` 使用英文或中文：请根据其 `code` 判断。时间采用带时差的 [RFC "
        "3339](https://www.rfc-editor.org/rfc/rfc3339) 格式，返回时为 UTC。\n"
    ),
    "Add a todo": "新建待办事项",
    "The answer's `Location` is the new todo's address.": "响应头 `Location` 是新待办事项的地址。",
    "Successful Response": "成功",
    "the todo's version, for If-Match and If-None-Match": "待办事项的版本，用于 If-Match 和 If-None-Match",
    "the todo's address": "待办事项的地址",
    "Unauthorized": "未登录",
    "Request Entity Too Large": "请求体过大",
    "Unsupported Media Type": "不支持该内容类型",
    "Unprocessable Entity": "字段无效",
    "Internal Server Error": "服务器内部出错",
    "Service Unavailable": "服务暂不可用",
    "Bad Request": "请求有误",
    "List todos": "列出待办事项",
    (
        "Your todos, a page at a time.\n"
        "\n"
        "Follow `next_cursor` to the end: no page skips or repeats a todo whose sort key stays as it was, "
        "whatever is\n"
        "written meanwhile. Every page costs the same, however deep."
    ): (
        "分页列出您的待办事项。\n"
        "\n"
        "沿着 `next_cursor` 直到最后一页：无论期间写入什么，只要排序字段不变，待办事项既不会遗漏也不会重复。每"
        "一页的开销相同，与翻到多深无关。"
    ),
    "todos on a page": "每页的待办事项数",
    "next_cursor of the page before, with the same sort and filters": (
        "上一页的 next_cursor，排序和筛选条件须保持不变"
    ),
    "only those done (true) or not done (false)": "只列出已完成（true）或未完成（false）的",
    "only those due before this instant": "只列出截止时间早于此刻的",
    "RFC 3339, with its offset from UTC; from 1900-01-01 to 9999-12-31T23:59:59Z (never)": (
        "RFC 3339 格式，须带与 UTC 的时差；范围为 1900-01-01 至 9999-12-31T23:59:59Z（永不）"
    ),
    "only those due at this instant or after it": "只列出截止时间不早于此刻的",
    (
        "`-` for descending. Todos without a due date come last both ways; titles are ordered by their bytes, "
        "ASCII letters regardless of case"
    ): ("`-` 表示降序。没有截止时间的待办事项在两种顺序下都排在最后；标题按字节排序，ASCII 字母不区分大小写"),
    "Read a todo": "读取待办事项",
    "With `If-None-Match`, 304 if it is still the same.": "带 `If-None-Match` 时，若未变化则返回 304。",
    "the todo's id": "待办事项的 ID",
    "ETag last seen: 304 if the todo is still the same": "上次看到的 ETag：若未变化则返回 304",
    "Not Modified": "未变化",
    "Not Found": "不存在",
    "Replace a todo": "替换待办事项",
    "What is left out takes its default, reminders too. With `If-Match`, 412 if it has changed since.": (
        "未提供的字段取默认值，提醒也一样。带 `If-Match` 时，若期间已被更改则返回 412。"
    ),
    "ETag last seen: 412 if the todo has changed since": "上次看到的 ETag：若之后已被更改则返回 412",
    "Precondition Failed": "已被更改",
    "Change a todo": "修改待办事项",
    "Changes only what is sent; `{}` changes nothing. With `If-Match`, 412 if it has changed since.": (
        "只更改所提供的字段；`{}` 不作任何更改。带 `If-Match` 时，若期间已被更改则返回 412。"
    ),
    "Delete a todo": "删除待办事项",
    "For good. With `If-Match`, 412 if it has changed since.": (
        "永久删除。带 `If-Match` 时，若期间已被更改则返回 412。"
    ),
    "Mark a todo as done": "标记为已完成",
    "Idempotent: completing a completed todo changes nothing and keeps its first completion time.": (
        "幂等：对已完成的待办事项不作任何更改，并保留首次完成的时间。"
    ),
    "Mark a todo as not done": "标记为未完成",
    "Idempotent: reopening an open todo changes nothing.": "幂等：对未完成的待办事项不作任何更改。",
    "List notifications": "列出通知",
    "The newest first, a page at a time. What arrives meanwhile moves no page.": (
        "分页列出，最新的在前。期间到达的通知不影响分页。"
    ),
    "notifications on a page": "每页的通知数",
    "next_cursor of the page before, with the same filter": "上一页的 next_cursor，筛选条件须保持不变",
    "only those that are not read yet": "只列出未读的",
    "Mark all as read": "全部标为已读",
    "Idempotent. With `up_to`, only those up to that number.": "幂等。带 `up_to` 时，只标记序号不大于它的通知。",
    "Mark one as read": "标为已读",
    "Idempotent: one that is read already keeps its first time.": "幂等：已读的通知保留首次阅读的时间。",
    "the notification's id": "通知的 ID",
    "Notifications as they come": "通知事件流",
    (
        "Server-Sent Events: one `notification` for each, with its `seq` as its `id` and the notification as "
        "its `data`.\n"
        "\n"
        "Resumes after `Last-Event-ID` and never passes one over; without it, starts from now. The first event "
        "has an id and\n"
        "no data: keep the id, and whatever comes while you are away comes when you are back. Ends when the "
        "access token\n"
        "expires: connect again with the next. A comment every 15 seconds shows that it lives.\n"
        "\n"
        "A page such as Swagger UI shows nothing until the stream has ended, so do not press Execute: use\n"
        '`curl --no-buffer --header "Authorization: Bearer $TOKEN"` with this address. A browser\'s '
        "`EventSource` sets no\n"
        "headers: read the body of `fetch` instead."
    ): (
        "Server-Sent Events：每条通知是一个 `notification` 事件，`id` 为其 `seq`，`data` 为通知本身。\n"
        "\n"
        "从 `Last-Event-ID` 之后继续，不会遗漏；不带它则从现在开始。第一个事件只有 id 没有数据：请保存此 "
        "id，离开期间到达的通知会在重新连接后补发。访问令牌过期时事件流结束：请用新令牌重新连接。每 15 "
        "秒发送一条注释，表示连接正常。\n"
        "\n"
        "Swagger UI 这样的页面在事件流结束前不会显示任何内容，所以请不要点击 Execute：请对此地址使用 `curl "
        '--no-buffer --header "Authorization: Bearer $TOKEN"`。浏览器的 `EventSource` '
        "不能设置请求头，请改为读取 `fetch` 的响应体。"
    ),
    "the same, for clients that set no headers": "含义相同，供不能设置请求头的客户端使用",
    "the `id` of the last event that was seen": "最后看到的事件的 `id`",
    "Too Many Requests": "次数过多",
    "A todo's reminders": "待办事项的提醒",
    "Each with its state, and under it each of its deliveries.": "每个提醒及其状态，以及它的每次投递。",
    "Remind once more": "再次提醒",
    "At an instant (`until`) or after a while (`for`). The todo's other reminders stay as they are.": (
        "在某一时刻（`until`）或一段时间之后（`for`）。该待办事项的其他提醒保持不变。"
    ),
    "How you are reminded": "提醒偏好",
    "The defaults, until they are changed.": "未更改时为默认值。",
    "Change how you are reminded": "修改提醒偏好",
    ("Changes only what is sent. Reminders that are still to come move at once; one that is due by now goes out."): (
        "只更改所提供的字段。尚未发出的提醒会立即调整；此时已到时间的会发出。"
    ),
    "List webhooks": "列出 Webhook",
    "All of them: an account has a handful at most.": "返回全部：一个账户最多只有几个。",
    "Add a webhook": "添加 Webhook",
    "The answer holds its secret, which is not shown again: requests are signed with it.": (
        "响应中包含用于签名请求的密钥，以后不再显示。"
    ),
    "Conflict": "冲突",
    "Change a webhook": "修改 Webhook",
    "Changes only what is sent. Switching it on, or another URL, forgets past failures.": (
        "只更改所提供的字段。重新启用或更换 URL 会清除以往的失败记录。"
    ),
    "the webhook's id": "Webhook 的 ID",
    "Delete a webhook": "删除 Webhook",
    "For good. What is being sent to it at this moment still arrives.": "永久删除。此刻正在发送的请求仍会到达。",
    "Give a webhook a new secret": "更换 Webhook 的密钥",
    "The one before signs as well for a day, so that the receiver can be changed without missing a request.": (
        "旧密钥在一天内仍同时签名，接收方可以从容更换而不漏掉请求。"
    ),
    "Open an account": "注册账户",
    "Username and e-mail address are unique whatever their case.": "用户名和邮箱不区分大小写，且不能重复。",
    "Sign in, or refresh": "登录或刷新令牌",
    (
        "OAuth2 password flow: `username` is the username or the e-mail address.\n"
        "\n"
        "With `grant_type=refresh_token`, a refresh token is exchanged for a new pair. It is good for one "
        "exchange; when it\n"
        "comes a second time, its whole session ends."
    ): (
        "OAuth2 密码模式：`username` 可以是用户名或邮箱。\n"
        "\n"
        "`grant_type=refresh_token` 用刷新令牌换取一对新令牌。刷新令牌只能使用一次；再次使用时，整个会话终止。"
    ),
    "The signed-in account": "当前账户",
    "Whose access token this is.": "访问令牌所属的账户。",
    "Delete the account": "注销账户",
    "Removes the account and everything that is its own, at once and for good.": "立即并永久删除账户及其所有内容。",
    "Forbidden": "不允许",
    "Change the account": "修改账户",
    "Changes only what is sent. A new password ends every session of the account: sign in again with it.": (
        "只更改所提供的字段。新密码会终止该账户的所有会话：请用新密码重新登录。"
    ),
    "Ask for a link to verify the e-mail address": "请求验证邮箱的链接",
    (
        "The link is good for three days. At most one mail a day goes to an address, whoever asks, and a few a "
        "day for an\n"
        "account, whichever addresses it has in it (429 `too_many_mails`).\n"
        "\n"
        "Reminders go out by e-mail only once the address is verified."
    ): (
        "链接三天内有效。无论由谁请求，同一邮箱每天最多收到一封；同一账户无论填写哪些邮箱，每天只能请求几封（42"
        "9 `too_many_mails`）。\n"
        "\n"
        "邮箱通过验证后，提醒才会通过邮件发送。"
    ),
    "Verify an e-mail address": "验证邮箱",
    "The token is the proof: no sign-in is needed. Idempotent, while the account keeps the address.": (
        "令牌即凭证，无需登录。账户保留该邮箱期间，此操作幂等。"
    ),
    "Where the link to verify leads": "验证链接的页面",
    "A page with a button, for people. Changes nothing.": "供人使用的带按钮页面，不作任何更改。",
    "the link's token": "链接中的令牌",
    "The link does not work": "链接无效",
    "The button of that page": "该页面的按钮",
    "Does what `POST /users/verify-email` does, and answers with a page.": (
        "与 `POST /users/verify-email` 作用相同，以页面作答。"
    ),
    "Where the link to unsubscribe leads": "退订链接的页面",
    "Get no more e-mail": "退订邮件",
    ("One-click unsubscription (RFC 8058): switches the account's e-mail channel off, without sign-in. Idempotent."): (
        "一键退订（RFC 8058）：无需登录即关闭账户的邮件渠道。幂等。"
    ),
    "As RFC 8058 has it. Not looked at: the token says all.": "按 RFC 8058 的规定。内容不被读取：令牌已说明一切。",
    "Is the process alive?": "进程是否存活",
    "Touches nothing: restarting the process would not help a database that is down.": (
        "不访问任何依赖：数据库停机时，重启进程无济于事。"
    ),
    "Can the process serve?": "进程能否提供服务",
    (
        "200 while the database answers and is at this code's migration or a newer one.\n"
        "\n"
        "Without Redis the service is `degraded`, not down: everything works, lists are read from PostgreSQL."
    ): (
        "数据库可用且其迁移版本不早于此代码时返回 200。\n"
        "\n"
        "没有 Redis 时服务为 `degraded`，并未停机：一切照常，列表改从 PostgreSQL 读取。"
    ),
    "A reminder is due": "提醒到时",
    (
        "What is posted to each active webhook of a todo's owner, as [Standard "
        "Webhooks](https://www.standardwebhooks.com)\n"
        "has it.\n"
        "\n"
        "To verify: take the part of the secret after `whsec_`, decode it from Base64, and make an HMAC-SHA256 "
        "with it of\n"
        "`webhook-id`, `webhook-timestamp` and the body as it came, with dots between. Its Base64 is one of "
        "the signatures in\n"
        "`webhook-signature`; compare in constant time. The libraries of Standard Webhooks do all of this.\n"
        "\n"
        "Every attempt has the same `webhook-id` and, byte for byte, the same body: what the todo said at the "
        "first. The\n"
        "timestamp and the signature are each attempt's own."
    ): (
        "按 [Standard Webhooks](https://www.standardwebhooks.com) 发送到待办事项所有者的每个启用的 Webhook。\n"
        "\n"
        "验证方法：取密钥中 `whsec_` 之后的部分，以 Base64 解码，用它对 `webhook-id`、`webhook-timestamp` "
        "和原样的请求体（以点号连接）计算 HMAC-SHA256。其 Base64 应是 `webhook-signature` "
        "中的某个签名；请用固定时间的方式比较。Standard Webhooks 的各语言库会完成这一切。\n"
        "\n"
        "每次尝试的 `webhook-id` 相同，请求体也逐字节相同，即首次发送时待办事项的内容。时间戳和签名则每次不同。"
    ),
    "The delivery's id: the same for every attempt. Do nothing for one that you have seen": (
        "投递的 ID，每次尝试都相同。已处理过的请不要再处理"
    ),
    "When this attempt was made, in seconds since 1970. Refuse one that is older than five minutes": (
        "本次尝试的时间，自 1970 年起的秒数。请拒绝五分钟以前的"
    ),
    "`v1,` and a signature for each secret that is good, with spaces between: one has to fit": (
        "`v1,` 加签名，每个有效密钥一个，以空格分隔：其中一个相符即可"
    ),
    "Any 2xx: it has arrived": "任何 2xx：已送达",
    "No more of these: the webhook is switched off, and its owner is told in the inbox": (
        "不再接收：该 Webhook 会被停用，并在收件箱中告知所有者"
    ),
    "Anything else, or no answer in time: it is tried again for a day": "其他响应或超时未响应：一天之内会重试",
    "3 to 50 letters of any script, digits, dots, hyphens or underscores; unique whatever its case": (
        "3 至 50 个任意文字的字母、数字、点、连字符或下划线；不区分大小写，且不能重复"
    ),
    "unique whatever its case": "不区分大小写，且不能重复",
    (
        "10 to 128 characters, all of which count; not one that is guessed first: a common word with or "
        "without digits, a repetition, a sequence, the username or the e-mail address"
    ): (
        "10 至 128 个字符，全部有效；不能是容易被猜到的密码：常见词（无论是否带数字）、重复字符、连续字符、用户名或邮箱"
    ),
    "the name of an IANA time zone: 422 lists those that are nearest to one that is not known": (
        "IANA 时区名称：名称有误时，422 会列出最接近的几个"
    ),
    "the language that the account is written to in: a tag of English or Chinese": (
        "与该账户通信所用的语言：英语或中文的语言标签"
    ),
    "What opens an account.": "注册所需的内容。",
    "The password, once more.": "再次输入密码。",
    "What changes: only what is sent.": "要更改的内容：只更改所提供的字段。",
    "reminders go out by e-mail only once it is": "验证之后，提醒才会通过邮件发送",
    "An account, without any secret.": "账户，不含任何秘密。",
    "only once the address is verified: see `email_verified`": "邮箱通过验证后才生效：参见 `email_verified`",
    "Where the account is reminded.": "通过哪些渠道提醒该账户。",
    "Which channels change.": "要更改的渠道。",
    "the webhook; null for the inbox and e-mail": "Webhook；收件箱和邮件为 null",
    "A reminder on its way by one channel.": "提醒通过一个渠道的投递。",
    "How far a delivery is.": "投递的进度。",
    "The process answers.": "进程有响应。",
    "only those whose `seq` is at most this: what came later was not seen yet": (
        "只标记 `seq` 不大于它的通知：更晚到达的还没有看到"
    ),
    "How far: everything, if nothing is said.": "标记到哪里：不提供则为全部。",
    "How many were not read before.": "此前未读的数量。",
    "for the next page; null on the last": "用于下一页；最后一页为 null",
    "A page of notifications.": "一页通知。",
    "`reminder`, or `webhook_disabled` (its title is the webhook's URL)": (
        "`reminder` 或 `webhook_disabled`（其标题为该 Webhook 的 URL）"
    ),
    "the delivery that brought it": "带来此通知的投递",
    "what it is about; the todo may be gone by now": "所关于的待办事项；现在可能已不存在",
    "the todo's, when it was sent": "发送时待办事项的值",
    "counts up within the account; the `id` of its event in the stream": "在账户内递增；也是事件流中该事件的 `id`",
    "Something that the account was told.": "告知该账户的一条消息。",
    "an ISO 8601 duration of weeks, days, hours, minutes and seconds; at most 366 days": (
        "ISO 8601 时长，由周、天、小时、分和秒组成；不超过 366 天"
    ),
    (
        "so long before the due time, at most 10, none twice; moves the reminders of every todo that has none "
        "of its own"
    ): ("截止时间之前多久提醒，最多 10 项，不能重复；会调整所有没有自己提醒的待办事项"),
    "a reminder that falls into them waits for their end": "落入其中的提醒会等到结束时发出",
    "What changes: only what is sent. Null switches quiet hours off.": (
        "要更改的内容：只更改所提供的字段。null 关闭免打扰时段。"
    ),
    "so long before the due time": "截止时间之前多久",
    "the account's": "该账户的",
    "How the account is reminded.": "如何提醒该账户。",
    "a time of day in the account's time zone": "账户所在时区的一天中的时刻",
    ("From `start` until before `end`, every day in the account's time zone; over midnight if `end` is the earlier."): (
        "每天从 `start` 起到 `end` 之前，按账户的时区；若 `end` 较早则跨越午夜。"
    ),
    "degraded: it serves, but something that helps it is down": "degraded：可以服务，但某个辅助部分停机",
    "what is down": "停机的部分",
    "What the service can do.": "服务的状态。",
    "when the reminder was due": "提醒的时间",
    "The body of `reminder.due`. Other types may come: answer 2xx to those that you do not know.": (
        "`reminder.due` 的请求体。将来可能有其他类型：对不认识的类型请返回 2xx。"
    ),
    "the same as in `webhook-id`": "与 `webhook-id` 相同",
    "goes up when a reminder that has gone out is due anew": "已发出的提醒再次到时时递增",
    "when it was due": "提醒的时间",
    "when the todo is due": "待办事项的截止时间",
    "A reminder that is due, and its todo.": "到时的提醒及其待办事项。",
    "When to remind: so long before the due time, or at an instant.": "何时提醒：截止时间之前多久，或某一时刻。",
    "A todo's reminders, by time.": "待办事项的提醒，按时间排序。",
    "or at this instant": "或在此时刻",
    "when it goes out, after quiet hours; null without a due time": (
        "发出的时间，已考虑免打扰时段；没有截止时间则为 null"
    ),
    "`sent` once any channel has delivered": "任一渠道送达后即为 `sent`",
    "One moment at which the owner of a todo hears of it.": "提醒待办事项所有者的一个时刻。",
    "How far a reminder is.": "提醒的进度。",
    "Until when: an instant, or so long from now.": "延后到何时：某一时刻，或从现在起多久。",
    "1 to 200 characters; white space around them is removed": "1 至 200 个字符；首尾空白会被去除",
    "at most 10, none twice; instead of the account's defaults": "最多 10 项，不能重复；代替账户的默认提醒",
    "A new todo.": "新的待办事项。",
    "A page of todos.": "一页待办事项。",
    ("What changes: only what is sent. Null clears `description` and `due_at`, and takes the default `reminders`."): (
        "要更改的内容：只更改所提供的字段。null 清除 `description` 和 `due_at`，并使 `reminders` 恢复默认。"
    ),
    "goes up with every change; the ETag holds it": "每次更改时递增；ETag 中包含它",
    "A todo.": "待办事项。",
    "A todo as it is to be: what is left out takes its default.": "待办事项应有的样子：未提供的字段取默认值。",
    "seconds until the access token expires": "访问令牌过期前的秒数",
    "good for one exchange; the answer to that holds the next": "只能使用一次；响应中有下一个",
    "A pair of tokens.": "一对令牌。",
    "instead of the two, with `grant_type=refresh_token`": "`grant_type=refresh_token` 时代替前两项",
    "ignored": "不使用",
    ("OAuth2's token request (RFC 6749, sections 4.3.2 and 6). Fields that are not known are ignored, as it wants."): (
        "OAuth2 令牌请求（RFC 6749 第 4.3.2 和第 6 节）。按其规定，未知字段会被忽略。"
    ),
    "Where the link is sent to.": "链接发送到的邮箱。",
    "What the link in the mail holds.": "邮件链接中的内容。",
    "http:// or https://, to a public address; no user name or password in it, no fragment": (
        "http:// 或 https://，指向公网地址；不能包含用户名、密码或片段"
    ),
    "A new webhook.": "新的 Webhook。",
    "All of the account's webhooks, the oldest first.": "该账户的所有 Webhook，最早的在前。",
    "true also after it was switched off for failing too long": "因长期失败而被停用后，也用 true 重新启用",
    "since when every attempt has failed": "从何时起每次尝试都失败",
    "when it was switched off for failing too long": "因长期失败而被停用的时间",
    "until when the secret before the last signs as well": "上一个密钥同时签名到何时",
    "A webhook, without its secret.": "Webhook，不含密钥。",
    "for a library of Standard Webhooks (https://www.standardwebhooks.com)": (
        "供 Standard Webhooks 的库使用（https://www.standardwebhooks.com）"
    ),
    "A webhook, with the secret that it signs with from now on. It is not shown again.": (
        "Webhook 及其今后用于签名的密钥。密钥不再显示。"
    ),
    "One field that breaks one rule.": "一个字段违反的一条规则。",
    "body, query, path or header": "body、query、path 或 header",
    "stable; later versions may add some": "不会改变；以后的版本可能增加新值",
    "the rule in the reader's language": "以读者的语言说明规则",
    ("RFC 9457. Decide by `code`; `title` and `detail` are for people, in English or Chinese by `Accept-Language`."): (
        "RFC 9457。请根据 `code` 判断；`title` 和 `detail` 供人阅读，按 `Accept-Language` 使用英文或中文。"
    ),
    "the same as in `X-Request-Id` and in the log": "与 `X-Request-Id` 和日志中的相同",
    "RFC 6749's code, on /token": "/token 中 RFC 6749 规定的错误代码",
    "RFC 6749's words for developers, in English, on /token": "/token 中 RFC 6749 规定的给开发者的英文说明",
    (
        "Sign in with a username or e-mail address, and leave client_id and client_secret empty. "
        "`invalid_grant` means that the name or the password is not right: try again, or open an account with "
        "`POST /users/` first. After many tries, wait a quarter of an hour."
    ): (
        "用用户名或邮箱登录，client_id 和 client_secret 留空。`invalid_grant` "
        "表示用户名或密码不正确：请重试，或先用 `POST /users/` 注册。尝试次数过多时，请等待一刻钟。"
    ),
    "Register, sign in, and the account itself": "注册、登录及账户本身",
    "Your own todos, and nobody else's": "只属于您自己的待办事项",
    "When a todo's owner hears of it, and what became of that": "何时提醒待办事项的所有者，以及结果如何",
    "How the account is reminded": "如何提醒该账户",
    "The inbox, as a list and as a stream": "收件箱：列表和事件流",
    "Where reminders are posted to, signed as Standard Webhooks has it": (
        "提醒发送到的地址，按 Standard Webhooks 签名"
    ),
    "Proving an address, and getting no more mail at it": "验证邮箱，以及不再接收邮件",
    "For probes": "供探针使用",
}
