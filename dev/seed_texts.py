"""The texts of the demo account's todos: a title with a gap, the words for the gap, and a description."""

from __future__ import annotations

Template = tuple[str, tuple[str, ...], str]

PEOPLE = ("Anna", "Ben", "Li Wei", "Maria", "Tom", "Dr. Chen", "the landlord", "the plumber", "grandma", "Priya")
FOODS = ("oat milk and eggs", "rice, tofu and scallions", "coffee beans", "a birthday cake", "cat food", "fruit", "tea")
PAPERS = (
    "the tax return",
    "the lease",
    "the insurance claim",
    "the visa form",
    "the pension letter",
    "the parking permit",
)
WORK = ("quarterly report", "release notes", "design of the search page", "budget for spring", "incident write-up")
BOOKS = (
    "Invisible Cities",
    "The Dispossessed",
    "Designing Data-Intensive Applications",
    "Middlemarch",
    "The Three-Body Problem",
)
HOME = ("kitchen tap", "bicycle light", "bathroom fan", "balcony door", "squeaking hinge", "smoke detector")
CITIES = ("Hangzhou", "Lisbon", "Chengdu", "Kyoto", "Edinburgh", "Montreal")
APPOINTMENTS = ("dentist", "hairdresser", "eye doctor", "bank", "vet", "town hall")

ENGLISH: tuple[Template, ...] = (
    ("Call {} back", PEOPLE, "They rang twice yesterday; after six is best."),
    ("Buy {}", FOODS, "The shop on the corner closes at nine."),
    ("Send off {}", PAPERS, "Make a copy first and keep the receipt."),
    ("Fill in {}", PAPERS, "Everything needed is in the blue folder."),
    ("Finish the {}", WORK, "Ask for a second pair of eyes before it goes out."),
    ("Review the {}", WORK, "Comments until Thursday, please."),
    ("Read {}", BOOKS, "At least the first three chapters before the reading group meets."),
    ("Lend {} to Anna", BOOKS, ""),
    ("Repair the {}", HOME, "The right screws are in the second drawer."),
    ("Find someone to look at the {}", HOME, "Get two offers."),
    ("Book the train to {}", CITIES, "A window seat if there is one."),
    ("Find a place to stay in {}", CITIES, "Near the station, quiet, with breakfast."),
    ("Make an appointment at the {}", APPOINTMENTS, "Mornings only this month."),
    ("Write to {}", PEOPLE, "A real letter, not a message."),
    ("Birthday present for {}", PEOPLE, "Nothing that needs batteries."),
    ("Thank {} for the help with moving", PEOPLE, ""),
    ("Water the {}", ("ferns", "tomatoes", "lemon tree", "neighbours' plants"), "Not too much."),
    ("Renew the {}", ("library card", "domain name", "passport", "gym membership"), "It runs out soon."),
    ("Back up the {}", ("laptop", "photos of last summer", "phone", "home server"), "And try to restore one file."),
    ("Practise {}", ("the cello", "characters, page 40", "parallel parking", "the talk"), "Half an hour."),
    ("Cancel the {}", ("newspaper while away", "old phone contract", "second streaming account"), ""),
)

REN = ("妈妈", "李老师", "房东", "小王", "张医生", "外婆", "客户陈总", "装修师傅", "同学们")
CAI = ("牛奶和鸡蛋", "豆腐和青菜", "咖啡豆", "生日蛋糕", "猫粮", "水果", "龙井茶", "粽子")
CAILIAO = ("报销单", "租房合同", "体检报告", "签证材料", "居住证申请", "保险理赔材料")
GONGZUO = ("季度总结", "发布说明", "接口文档", "预算表", "面试题", "故障复盘", "迭代计划")
SHU = ("《三体》", "《活着》", "《看不见的城市》", "《人月神话》", "《围城》", "《史记》")
WU = ("厨房水龙头", "自行车", "空调", "阳台门", "台灯", "洗衣机")
CHENGSHI = ("杭州", "成都", "西安", "厦门", "哈尔滨", "昆明")
YUYUE = ("牙科", "眼科", "理发店", "车管所", "银行", "宠物医院")

MANDARIN: tuple[Template, ...] = (
    ("给{}回电话", REN, "晚上六点以后比较方便。"),
    ("买{}", CAI, "楼下超市九点关门。"),
    ("寄出{}", CAILIAO, "先复印一份，保留快递单。"),
    ("填写{}", CAILIAO, "需要的资料都在蓝色文件夹里。"),
    ("完成{}", GONGZUO, "发出之前请同事再看一遍。"),
    ("评审{}", GONGZUO, "周四之前给意见。"),
    ("读{}", SHU, "读书会之前至少看完前三章。"),
    ("把{}还给图书馆", SHU, ""),
    ("修{}", WU, "螺丝在第二个抽屉。"),
    ("找人检查{}", WU, "至少问两家报价。"),
    ("预订去{}的车票", CHENGSHI, "尽量靠窗。"),
    ("在{}找住处", CHENGSHI, "离车站近，安静，含早餐。"),
    ("预约{}", YUYUE, "这个月只有上午有空。"),
    ("给{}写信", REN, "手写，不发微信。"),
    ("给{}准备生日礼物", REN, "不要带电池的。"),
    ("感谢{}帮忙搬家", REN, ""),
    ("给{}浇水", ("绿萝", "番茄", "柠檬树", "邻居家的花"), "不要太多。"),
    ("续{}", ("图书证", "域名", "健身卡", "护照", "证书"), "快到期了。"),
    ("备份{}", ("电脑", "去年夏天的照片", "手机", "家里的服务器"), "顺便试着恢复一个文件。"),
    ("练习{}", ("书法", "古筝", "英语口语", "演讲", "侧方停车"), "半小时就够。"),
    ("取消{}", ("旧手机套餐", "多余的视频会员", "出差期间的报纸"), ""),
)
