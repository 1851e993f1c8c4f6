"""Lines as people write them in live rooms: short, repetitive, Chinese, English, emoji.

Owns the vocabulary and the distribution of lengths. Lines are made up here from common interjections; lengths follow a
log-normal distribution whose medians (8 Chinese characters, 22 Latin letters, 2 emoji) and tail are those usually
reported for bullet comments and stream chats: most are a few words, one in a hundred is a paragraph.
"""

from __future__ import annotations

import random
from typing import Final

__all__ = ["CORPORA", "lines"]

_WORDS: Final = {
    "chinese": """
        主播好 哈哈哈 哈哈哈哈哈哈 太强了 前排 来了来了 666 这首歌好听 再来一首 求歌名 支持主播 加油 冲冲冲 泪目 名场面
        好家伙 学到了 下次一定 已关注 新人报到 第一次来 今天好热闹 主播吃饭了吗 声音好小 画面卡了 不卡啊 刷新一下
        太好笑了 笑死我了 绝了 真的假的 什么情况 求链接 多少钱 怎么买 包邮吗 想要 红包来了 谢谢老板 老板大气 恭喜恭喜
        生日快乐 晚安 早点休息 明天见 辛苦了 爱了爱了 好可爱 好看 神仙打架 这波不亏 稳住 别送 赢了赢了 可惜 再来 打得好
    """,
    "english": """
        hello hi everyone lol haha gg nice wow omg love this song what a play so good first time here greetings from the
        other side of the world can you hear me sound is too low refresh the page it works now thank you great stream
        please play it again who is that no way unreal clip it one more time we are live happy birthday good night see you
    """,
    "emoji": "😂 🤣 ❤️ 🔥 👏 😭 🎉 😍 👍 🙏 💯 🥳 😮 👀 🚀 💖 🌹 🎁 🧧 👨‍👩‍👧‍👦 🇨🇳 ⭐ 🐶 😎",
}
_VOCABULARY: Final = {corpus: words.split() for corpus, words in _WORDS.items()}
_MEDIAN: Final = {"chinese": 8, "english": 22, "emoji": 2}
_SIGMA: Final = 0.7
"""Of the logarithm of a length: 5 % are three times the median, 0.1 % nine times."""
_LONGEST: Final = {"chinese": 100, "english": 200, "emoji": 30}
_MIX: Final = {"chinese": 0.6, "english": 0.25, "emoji": 0.15}
CORPORA: Final = ("mixed", *_MEDIAN)


def lines(pick: random.Random, corpus: str, count: int) -> list[str]:
    """Return ``count`` lines, each at least one character. Raises KeyError for an unknown corpus."""
    names = [corpus] * count if corpus != "mixed" else pick.choices(list(_MIX), list(_MIX.values()), k=count)
    return [_line(pick, name) for name in names]


def _line(pick: random.Random, corpus: str) -> str:
    length = min(_LONGEST[corpus], max(1, round(pick.lognormvariate(0, _SIGMA) * _MEDIAN[corpus])))
    words = _VOCABULARY[corpus]
    if corpus == "emoji":
        return "".join(pick.choices(words, k=length))
    joint = "" if corpus == "chinese" else " "
    text = pick.choice(words)
    while len(text) < length:
        text += joint + pick.choice(words)
    return text[:length].rstrip() + (pick.choice(_VOCABULARY["emoji"]) if pick.random() < 0.1 else "")
