"""Advice in Chinese: by each template in English, as rules have it, one with the same facts.

Owns these words. Paths, commands, codes and numbers stay as they are; what the console has a word for
(``engine/web/console/words.js``) is called the same here. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["CHINESE"]

_EVIDENCE: Final = {
    "{path}: {grown} in {seconds:.3g} s": "{path}：{seconds:.3g} 秒内增加 {grown}",
    "{path}: {now} now": "{path}：现为 {now}",
    "{path} beyond {bound:g} s: {more} of {of} in {seconds:.3g} s": (
        "{path}：{seconds:.3g} 秒内的 {of} 次中有 {more} 次超过 {bound:g} 秒"
    ),
    "{path}: {state}": "{path}：{state}",
    "{room}: {path}": "{room}：{path}",
    "cores: {cores}": "CPU 核数：{cores}",
    "quota: {quota} cores": "CPU 配额：{quota} 核",
    "{room}: of network {name} {came:,.0f} of {due:,.0f} arrived": "{room}：网络 {name} 应收 {due:,.0f}，实收 {came:,.0f}",
}

_ADMISSION: Final = {
    "The node has no place for more viewers, and sends them away.": "节点已满，新来的观众被拒之门外。",
    "Place for {wanted:,} viewers in each edge process: nobody is refused with 503.": (
        "每个边缘进程可容纳 {wanted:,} 位观众，不再有人因 503 被拒绝。"
    ),
    "This machine's memory holds no more of them: another machine does.": "这台机器的内存已容纳不下更多观众，需要增加机器。",
    "Viewers are refused because their address has as many connections as it may: a school, a provider, or a flood.": (
        "有观众被拒绝，因为其地址的连接数已达上限：可能是学校、运营商出口，也可能是恶意刷连接。"
    ),
    "{what} If a proxy is in front of the node, edge.trusted_proxies is missing: all viewers seem to come from it.": (
        "{what}如果节点前面有代理，则缺少 edge.trusted_proxies：在节点看来，所有观众都来自这个代理。"
    ),
    "Viewers who share an address get in: nobody is refused with 429.": "共用一个地址的观众都能进入，不再有人因 429 被拒绝。",
    "Connections came faster than they were accepted, and a queue of the kernel's for new ones was full.": (
        "连接到来的速度超过了接受的速度，内核的新连接队列已满。"
    ),
    "As many may wait; a client whose connection was dropped waits a second before it tries again.": (
        "可以有这么多连接排队；被丢弃连接的客户端要等一秒才会重试。"
    ),
    "A room has as many viewers at this node as it may, and more are sent away.": (
        "有房间在此节点的观众数已达上限，再来的观众被拒绝。"
    ),
    "As many rooms are open at this node as may be, and viewers of others are sent away.": (
        "此节点开放的房间数已达上限，其他房间的观众被拒绝。"
    ),
    "Nobody is refused with ROOM_FULL.": "不再有人因 ROOM_FULL 被拒绝。",
    "Viewers were closed because they sent far more than they may: clients that send too much, or a flood.": (
        "有观众因发送量远超上限而被断开：客户端发送过多，或有人恶意刷屏。"
    ),
    "Fewer viewers are closed with 4201, if it is they who are meant to send so much.": (
        "如果这些观众确实需要发送这么多，因 4201 被断开的观众会减少。"
    ),
    "Viewers were closed because more answers waited for them than may: they ask much at once, or do not read.": (
        "有观众因待收的回复超过上限而被断开：一次请求过多，或一直不读取。"
    ),
    "Fewer viewers are closed with 4202, for as many bytes more that each of them may hold.": (
        "因 4202 被断开的观众会减少，但每位观众可占用的内存相应增加。"
    ),
}

_BOOKS: Final = {
    "The ledger's database failed, or was too slow: gifts and claims are answered with LEDGER.": (
        "账本的数据库出错或过慢：送礼和抢红包的请求得到的回复是 LEDGER。"
    ),
    "cannot be written in time": "无法及时写入",
    "a database that is up and writable": "正常运行且可写的数据库",
    "Gifts are booked. Nothing that was acknowledged is lost meanwhile.": "礼物正常入账；此前已确认的不会丢失。",
    "Every transaction of the ledger is full, and what waits for the next one waits for a disk.": (
        "账本的每个事务都已装满，等待下一个事务的请求都在等磁盘。"
    ),
    "The same gifts take fewer transactions, and are acknowledged sooner.": "同样多的礼物只需更少的事务，也更快得到确认。",
    "Transactions of the ledger take long: who gives waits for them.": "账本的事务耗时过长，送礼的人要等它完成。",
    "a server with a faster disk": "磁盘更快的服务器",
    "Commits take milliseconds; a disk that syncs fast does the same for a file.": (
        "提交只需几毫秒；如果账本是文件，换用同步写入快的磁盘效果相同。"
    ),
}

_DELIVERY: Final = {
    "Sockets do not take a whole frame, though their viewers catch up at once: each costs a wait and a second write.": (
        "套接字无法一次写完一帧，而观众其实马上就能跟上：每次都要多一次等待和一次写入。"
    ),
    "Fewer sends end with EAGAIN; a viewer who stops reading may hold as much more kernel memory.": (
        "以 EAGAIN 结束的发送会减少；停止读取的观众可占用的内核内存也随之增加。"
    ),
    "Viewers who were behind for a moment have missed something: the log does not last until they have caught up.": (
        "短暂落后的观众漏掉了内容：日志保留得不够久，等不到他们追上。"
    ),
    "Who reads on catches up from the log, without a gap.": "继续读取的观众可从日志追上，没有缺口。",
    "A few viewers are slower than the room: their own lines or devices.": (
        "少数观众跟不上房间的速度：问题在他们自己的线路或设备。"
    ),
    "Who chooses the feed gets fewer bytes. For everybody else there is nothing to change.": (
        "选用该消息流（feeds）的观众收到的字节更少；对其他人无需改动。"
    ),
    "Many viewers are slower than the room, though the log is long: the way out of this machine.": (
        "日志足够长，仍有许多观众跟不上房间的速度：瓶颈在这台机器的出口网络。"
    ),
    "Fewer bytes for each viewer, and fewer of them behind.": "发给每位观众的字节更少，落后的观众也更少。",
    "Viewers came back, and what they had missed was not kept any more: they were told of a gap.": (
        "有观众重连回来，但错过的内容已不再保留，只能告知他们存在缺口。"
    ),
    "Who comes back gets all that was said meanwhile; memory of the node and the broker grows with what is kept.": (
        "重连的观众可收到其间的全部内容；节点和消息代理占用的内存随保留量增加。"
    ),
    "Nothing to change: to keep more would take more memory than there is, and they go on from what is kept.": (
        "无需改动：保留更多会超出现有内存，这些观众从仍保留的内容继续即可。"
    ),
    "Connections of one network, {network}, break off without a word.": "来自同一网络 {network} 的连接无故中断。",
    "Connections break off without a word: a proxy's timeout for silent connections, or its restarts.": (
        "连接无故中断：可能是代理断开了空闲超时的连接，也可能是代理重启。"
    ),
    "A silent room sends often enough for any proxy or router; fewer have to come back for 1006.": (
        "安静的房间也会足够频繁地发送数据，不会被代理或路由器判为空闲；因 1006 重连的观众会减少。"
    ),
    "{share:.0%} of TCP segments of this machine had to be sent again: packets are lost on the way.": (
        "这台机器有 {share:.0%} 的 TCP 报文段需要重传：途中有丢包。"
    ),
    "A viewer behind a lossy line is sent as fast as the line takes it.": "线路有丢包的观众，也能按线路的实际能力收到数据。",
    "Much leaves this machine, and nothing of it is compressed.": "这台机器的出口流量很大，而且完全没有压缩。",
    "Browsers get about 40 % of the bytes; each batch is compressed once, for everybody.": (
        "浏览器收到的字节约为原来的 40%；每批只压缩一次，所有人共用。"
    ),
    "When this node stops, its viewers come back faster than they can be let in.": (
        "此节点停止时，观众重连的速度会超过能够接纳的速度。"
    ),
    "A restart spreads the returns: no full queues, and nobody is refused with 503.": (
        "重启时观众分散重连：队列不会满，也没有人因 503 被拒绝。"
    ),
}

_ORDERING: Final = {
    "Redis did not answer in time, and senders were told to try again.": "Redis 未及时应答，发送者被告知重试。",
    "does not answer in time": "未及时应答",
    "a server that is up and near": "正常运行且距离近的服务器",
    "What is said is taken: with more patience a moment later, with a server that is up at once.": (
        "发言会被接受：等待时间更长时稍后接受，服务器正常时立即接受。"
    ),
    "Redis takes long for what is published: every comment is late by that.": "Redis 处理发布过慢，每条评论都因此延迟。",
    "slower than {bound:g} s": "慢于 {bound:g} 秒",
    "a server that is near, with a disk that keeps up": "距离近且磁盘跟得上的服务器",
    "Publishes return in milliseconds; without replicas, what they lack is lost when the server dies.": (
        "发布在几毫秒内返回；不等待副本时，如果服务器宕机，副本尚未收到的内容会丢失。"
    ),
}

_PRODUCT: Final = {
    "The product was asked and gave no answer in time, or none that can be used; hooks.fallback decided: {fallback}.": (
        "已询问业务方，但未及时得到答复，或答复不可用；由 hooks.fallback 决定：{fallback}。"
    ),
    "fail": "失败",
    "answer with a verdict for each question": "对每个询问都给出裁决",
    "The product decides; whoever is asked about waits for as long.": "由业务方决定；被询问的用户最多等待这么久。",
    "The product decides again.": "重新由业务方决定。",
    "The product did not take webhooks, and after hooks.attempts they were put aside.": (
        "业务方未接收 webhook，尝试 hooks.attempts 次后已搁置。"
    ),
    "{letters:,.0f} put aside": "已搁置 {letters:,.0f} 条",
    "none, once the product takes them": "业务方恢复接收后清空",
    "With more attempts the product may be away for longer before anything is put aside.": (
        "尝试次数更多时，业务方可离线更久才会开始搁置。"
    ),
    "Happenings could not be written down, and the product will not be told of them.": (
        "有事件未能写入数据库，业务方将不会收到这些事件。"
    ),
    "With a database that can be written nothing is lost.": "数据库可写时，事件不会丢失。",
    "The product is told late what has happened: it does not take webhooks as fast as they come, or not at all.": (
        "业务方很晚才得知发生的事件：接收 webhook 的速度跟不上，或完全没有接收。"
    ),
    "behind": "落后",
    "answers 2xx as soon as it has written them down": "写下事件后立即回复 2xx",
    "What waits is told, in order.": "等待中的事件会按顺序送达。",
}

_RESOURCES: Final = {
    "Each {role} process takes {busy:.0%} of a core: the next burst comes late.": (
        "每个 {role} 进程占用单核的 {busy:.0%}：下一次突发将会延迟。"
    ),
    "one node": "一个节点",
    "more nodes over one Redis (redis.url)": "多个节点共用一个 Redis（redis.url）",
    "Rooms are spread over nodes, and each hub encodes only those that its viewers are in.": (
        "房间分散到多个节点，每个中枢只编码自己的观众所在的房间。"
    ),
    "Sending takes {cores} cores instead of {now}.": "发送使用 {cores} 个核，而不是 {now} 个。",
    "Fewer and larger frames: less CPU for the same deliveries, each a little later. Else more machines.": (
        "帧更少、更大：同样的送达占用更少的 CPU，只是每次略晚；仍然不够就增加机器。"
    ),
    "The container's CPU quota stops the node in the middle of its work, again and again.": (
        "容器的 CPU 配额一再让节点在工作中途停顿。"
    ),
    "{quota} cores": "{quota} 核",
    "more, or no quota": "更高的配额，或不设配额",
    "No pauses of tens of milliseconds in which nobody is sent anything.": "不再有几十毫秒内谁都收不到数据的停顿。",
    "The event loop of the {role} process stood still, though it had CPU: something in it blocks.": (
        "{role} 进程的事件循环曾经停住，而 CPU 并不紧张：其中有代码在阻塞。"
    ),
    "hooks in Python": "Python 钩子",
    "block the loop": "阻塞事件循环",
    "await, or trio.to_thread.run_sync for what blocks": "使用 await，会阻塞的调用放进 trio.to_thread.run_sync",
    "Nobody waits for the database or the service that a hook asks.": "不再有人因钩子查询的数据库或服务而等待。",
}

_SETUP: Final = {
    "There are more edge processes than cores that they may use: they take time from each other and from the hub.": (
        "边缘进程多于可用的 CPU 核数：它们互相争抢时间，也挤占中枢的时间。"
    ),
    "One edge process for each core, less memory, and the same number of frames.": (
        "每个核一个边缘进程，占用内存更少，发送的帧数不变。"
    ),
    "A process may have {hard:,} descriptors, place for {place:,} viewers: fewer than it should serve.": (
        "单个进程最多可有 {hard:,} 个描述符，只够 {place:,} 位观众：少于应服务的人数。"
    ),
    "Place for {wanted:,} viewers in each edge process.": "每个边缘进程可容纳 {wanted:,} 位观众。",
    "If as many viewers as may come all stopped reading, their send buffers would take more than half of the memory.": (
        "如果观众数达到上限且全部停止读取，发送缓冲区将占用一半以上的内存。"
    ),
    "What stopped readers can hold is bounded by half of the memory.": "停止读取的观众最多只能占用一半内存。",
    "The kernel queues fewer connections than edge.backlog asks for, which counts when all come back at once.": (
        "内核允许排队的连接数少于 edge.backlog 的要求，所有人同时重连时会有影响。"
    ),
    "As many connections may wait as edge.backlog says; it holds with the next reload or restart of the node.": (
        "可排队的连接数与 edge.backlog 一致；节点下次重新读取设置或重启后生效。"
    ),
    "Anybody who reaches the address may write, under any name: no ban outlives a reconnect.": (
        "能访问该地址的任何人都可用任意名字发言：封禁在重连后即失效。"
    ),
    "a secret that the product signs tokens with": "业务方用来签发令牌的密钥",
    "Only who has a token of the product writes; guests read.": "只有持有业务方令牌的人可以发言，游客只能观看。",
    "No viewer reports what has come to it: what is said of delays, networks and reconnects is said of nobody.": (
        "没有观众上报收到的内容：延迟、网络和重连的数据因此都是空的。"
    ),
    "does not report": "未上报",
    "one that does, as those of this release": "换用会上报的 SDK，例如此版本自带的 SDK",
    "The certificate tells how much arrived, and how late, by network.": "送达凭证会按网络给出到达了多少、延迟多久。",
}

_SPEECH: Final = {
    "{share:.0%} of what is said is withheld by the room's budget.": "有 {share:.0%} 的发言被房间预算扣留。",
    "What is said fits, and everybody gets it; frames grow as much.": "发言都在预算之内，所有人都能收到；帧也相应变大。",
    "There is no CPU left for more. Rather raise node.workers, or offer a feed that can be read (feeds).": (
        "CPU 已无余量。不如调高 node.workers，或提供一个读得过来的消息流（feeds）。"
    ),
    "Comments": "评论",
    "Looks at the past and the state": "历史和状态查询",
    "Gifts and claims": "送礼和抢红包",
    "Likes": "点赞",
    "{what} of many viewers are more than one may make; unless a few flood, the limit is low.": (
        "许多观众的{what}频率超过单人上限；如果不是少数人在刷屏，就是上限偏低。"
    ),
    "Viewers who make several at once are refused less often.": "一次连发几条的观众不会那么常被拒绝。",
    "slow mode": "慢速模式",
    "not to repeat themselves": "重复发言限制",
    "{share:.0%} of comments are refused because viewers are asked for {manner}.": "有 {share:.0%} 的评论因{manner}被拒绝。",
    "the room's own": "房间自身的设置",
    "shorter": "更短",
    "They are published; a budget (limits.room_events_per_second) bounds a room without asking anybody to wait.": (
        "这些评论会正常发布；房间预算（limits.room_events_per_second）可限制房间总量，无需让任何人等待。"
    ),
    "As many events wait to be published as may, and senders are told to try again.": (
        "等待发布的事件数已达上限，发送者被告知重试。"
    ),
    "A burst waits for its turn instead of being refused.": "突发的事件排队等候，而不是被拒绝。",
    "It is not a burst that waits: the broker, or the CPU, has to become faster.": (
        "排队的并不是突发流量：需要更快的消息代理或 CPU。"
    ),
}

CHINESE: Final[Mapping[str, str]] = MappingProxyType(
    _EVIDENCE | _ADMISSION | _BOOKS | _DELIVERY | _ORDERING | _PRODUCT | _RESOURCES | _SETUP | _SPEECH
)
"""Templates by those in English."""
