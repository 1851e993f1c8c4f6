"""What people in the demo room are called and what they say, in English and Chinese; an evening of tea.

Owns the words. They are put together by `engine.demo.script`: ``{tea}`` and the like stand for one of the words below. Lines
are short and kind: a stranger reads them first thing.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = [
    "CHAT",
    "ENDED",
    "FIRST_NAMES",
    "GREETED",
    "HELD",
    "HOST_ANSWERS",
    "HOST_NOTICES",
    "HOST_SAYS",
    "HOST_THANKS",
    "HOST_WELCOMES",
    "INITIALS",
    "LUCKY",
    "NAMES",
    "PACKET",
    "THANKS",
    "VOTED",
    "WORDS",
    "ZH_AFTER",
    "ZH_BEFORE",
    "Language",
    "Lines",
]

Language = Literal["en", "zh"]
Lines = dict[Language, tuple[str, ...]]

FIRST_NAMES: Final = (
    *("Maya", "Leo", "Nora", "Sam", "Ines", "Theo", "Ava", "Milo", "Lena", "Omar", "Ruth", "Hugo", "Zoe", "Ivan", "Mina"),
    *("Paul", "Tara", "Jonas", "Elsa", "Ravi", "Kim", "Noah", "Lucia", "Finn", "Amara", "Oscar", "Yuki", "Dana", "Felix"),
    *("Sofia", "Jude", "Priya", "Emil", "Clara", "Tomas", "Iris"),
)
INITIALS: Final = "ABCDEFGHJKLMNPRSTVWZ"
NAMES: Final = (
    *("quiet_kettle", "teacup42", "moonlit", "paper.boat", "northwind", "slowriver", "warm socks", "late train", "pixelpine"),
    *("cloud nine", "second steep", "rainy sunday", "tinylantern", "oolong fan", "green leaf", "honeybee", "old harbour"),
)
ZH_BEFORE: Final = (
    *("爱喝茶的", "路过的", "早起的", "安静的", "晒太阳的", "会弹琴的", "南方的", "慢慢走的", "刚下班的", "雨天的", "追星星的"),
    *("山那边的", "有点困的", "不加糖的", "写代码的", "看海的"),
)
ZH_AFTER: Final = (
    *("小熊", "橘子", "阿宁", "月亮", "松鼠", "茶壶", "云朵", "小周", "栗子", "柚子", "阿杰", "小鹿", "石头", "微风", "小满"),
    *("糯米", "青柠", "企鹅"),
)

WORDS: Final[dict[str, dict[Language, tuple[str, ...]]]] = {
    "tea": {
        "en": ("Longjing", "oolong", "white peony", "jasmine", "aged pu'er", "black tea", "sencha", "rooibos"),
        "zh": ("龙井", "乌龙", "白牡丹", "茉莉花茶", "老普洱", "红茶", "铁观音", "桂花茶"),
    },
    "thing": {
        "en": (
            "the teapot",
            "that cup",
            "that bowl",
            "the whisk",
            "the little tray",
            "the spoon",
            "the little vase",
            "the kettle",
        ),
        "zh": ("这个茶壶", "那只杯子", "那个小碗", "这支茶匙", "小茶盘", "这块茶巾", "那个花瓶", "这把水壶"),
    },
    "place": {
        "en": ("Lisbon", "Toronto", "Nairobi", "Oslo", "Lima", "Seoul", "Melbourne", "Prague", "Jakarta", "Dublin"),
        "zh": ("杭州", "成都", "广州", "哈尔滨", "厦门", "西安", "昆明", "青岛", "武汉", "苏州"),
    },
    "now": {
        "en": ("after work", "at breakfast", "on the train", "with my cat", "before bed", "in the rain", "on my break"),
        "zh": ("刚下班", "边吃早饭", "在地铁上", "和猫一起", "睡前", "外面下雨", "午休时间"),
    },
}
"""Words for the places in a line."""

CHAT: Final[Lines] = {
    "en": (
        "{tea} smells good even from here",
        "hello from {place}!",
        "watching {now}",
        "watching {now} and very happy about it",
        "{thing} is so pretty",
        "is that {tea}?",
        "how hot is the water for {tea}?",
        "I could listen to this all evening",
        "one minute or two for {tea}?",
        "just arrived, what did I miss?",
        "{tea} or matcha, hard to choose",
        "this is my favourite hour of the day",
        "my cup is empty again",
        "my first time here, so calm",
        "pouring along from {place}",
        "where is {thing} from?",
        "who else is drinking {tea} right now?",
        "{tea}, always",
        "back again {now}",
        "the sound of pouring 😌",
        "taking notes 📝",
        "same as yesterday, and I love it",
        "greetings from {place}, it is late here",
        "can you show {thing} again?",
        "that colour!",
        "👏👏👏",
        "🍵🍵",
        "love it",
        "so smooth today",
        "what is this music?",
        "the light is lovely",
        "hi everyone 👋",
        "good evening all",
        "good morning from {place} ☀️",
        "a little less water for {tea}, maybe",
        "my grandmother made {tea} just like that",
        "does {tea} go with biscuits?",
        "yes please",
        "haha",
        "😄😄",
    ),
    "zh": (
        "隔着屏幕都闻到{tea}的香了",
        "{place}的朋友来了",
        "{now}来看直播",
        "{now}，刚好喝一杯",
        "{thing}真好看",
        "这是{tea}吗？",
        "{tea}用多少度的水？",
        "能听一晚上",
        "{tea}泡一分钟还是两分钟？",
        "刚来，错过了什么？",
        "{tea}和抹茶，选不出来",
        "一天里最喜欢这个时候",
        "杯子又空了",
        "第一次来，好安静",
        "{place}跟着一起泡",
        "{thing}是哪里的呀？",
        "现在谁也在喝{tea}？",
        "还是{tea}最好",
        "又来啦，{now}",
        "倒水的声音太治愈了 😌",
        "记笔记 📝",
        "和昨天一样，就喜欢这样",
        "{place}现在好晚了",
        "{thing}能再看一下吗？",
        "这个颜色绝了",
        "👏👏👏",
        "🍵🍵",
        "好看",
        "今天好流畅",
        "这是什么音乐？",
        "光线真好",
        "大家好 👋",
        "晚上好呀",
        "{place}早上好 ☀️",
        "{tea}水少一点更香",
        "外婆也这样泡{tea}",
        "{tea}配点心好吃吗？",
        "好的好的",
        "哈哈哈",
        "😄😄",
    ),
}

THANKS: Final[Lines] = {
    "en": (
        "wow, {name}!",
        "thank you {name} 🎁",
        "{name} so generous",
        "nice one {name} 👏",
        "look at that {gift}!",
        "👏👏 {name}",
    ),
    "zh": ("哇，{name}！", "谢谢{name} 🎁", "{name}好大方", "{name}厉害了 👏", "{gift}好漂亮！", "感谢{name}～"),
}
PACKET: Final[Lines] = {
    "en": ("red packet!! 🧧", "ready…", "here it comes", "fingers ready", "quick, a packet 🧧"),
    "zh": ("红包来了！🧧", "准备准备", "来了来了", "手速预备", "抢红包啦 🧧"),
}
LUCKY: Final[Lines] = {
    "en": ("got {amount}!", "{amount}, thank you host 🧧", "yay, {amount}", "caught one 🧧", "{amount}, lucky today"),
    "zh": ("抢到了！{amount}", "抢到了 🧧", "谢谢主播，{amount}", "手气不错，{amount}", "终于抢到{amount}"),
}
ENDED: Final[Lines] = {
    "en": ("too slow again 😅", "gone already?", "next time!", "missed it"),
    "zh": ("没抢到 😅", "这么快就没了", "下次一定", "又慢了一步"),
}
VOTED: Final[Lines] = {
    "en": ("voted {option}", "{option} of course", "team {option} ✋", "{option}, easy"),
    "zh": ("投了{option}", "当然是{option}", "{option}站队 ✋", "我选{option}"),
}
GREETED: Final[Lines] = {
    "en": ("hi {name} 👋", "welcome {name}!", "hello {name}, have a seat", "nice to see you {name}"),
    "zh": ("{name}你好 👋", "欢迎{name}！", "{name}来啦，请坐", "{name}晚上好"),
}
HELD: Final[Lines] = {
    "en": ("spoiler: the last cup is {tea}",),
    "zh": ("剧透一下，最后一杯是{tea}",),
}
"""Held for a moderator by the demo's word list, so that the console has something to decide on."""

HOST_SAYS: Final[Lines] = {
    "en": (
        "Welcome, everybody. Make yourselves comfortable.",
        "The water is at eighty degrees now, just right for green tea.",
        "Second steep. It is always the best one.",
        "Tell me what you are drinking tonight.",
        "Listen to this… that is the sound I like most.",
        "For those who just came: take a cup, we have time.",
    ),
    "zh": (
        "欢迎大家，随便坐。",
        "水八十度，泡绿茶正好。",
        "第二泡，永远是最好喝的。",
        "说说你们今晚喝什么？",
        "听，就是这个声音。",
        "刚来的朋友，拿杯茶，不着急。",
    ),
}
HOST_WELCOMES: Final[Lines] = {
    "en": ("Welcome, {name}! Good to have you here 🍵", "Hello {name}, you found us! What may I pour you?"),
    "zh": ("欢迎{name}！很高兴你来 🍵", "{name}你好，来一杯什么茶？"),
}
HOST_ANSWERS: Final[Lines] = {
    "en": (
        "Good point, {name}.",
        "I was just thinking the same, {name} 😊",
        "{name}, next cup is for you.",
        "Thank you, {name}!",
    ),
    "zh": ("{name}说得对。", "{name}，我也正这么想 😊", "下一杯给{name}。", "谢谢{name}！"),
}
HOST_THANKS: Final[Lines] = {
    "en": ("{name}, thank you so much for the {gift}! 🎁", "For me? {name}, you are too kind 🎁"),
    "zh": ("谢谢{name}送的{gift}！🎁", "{name}太客气了，谢谢 🎁"),
}
HOST_NOTICES: Final = (
    "Everybody here but you is simulated · 除了你，大家都是模拟的观众",
    "Red packets every minute · 每分钟一个红包",
    "Open /console to look behind the scenes · 打开 /console 看看后台",
)
