export const language = navigator.language.startsWith("zh") ? "zh" : "en";

const WORDS = {
  username: ["Username", "用户名"], email: ["E-mail address", "邮箱"], password: ["Password", "密码"],
  signIn: ["Sign in", "登录"], register: ["Create an account", "注册"], leave: ["Sign out", "退出登录"],
  noAccount: ["I have no account", "没有账户？去注册"], hasAccount: ["I have an account", "已有账户？去登录"],
  signedOut: ["Please sign in again.", "请重新登录。"],
  unreachable: ["The API cannot be reached, or does not allow pages of this origin (API_CORS_ORIGINS).", "无法访问 API，或者 API 不允许此来源的页面访问（API_CORS_ORIGINS）。"],
  reminders: ["Reminders", "提醒"], read: ["Mark as read", "标为已读"],
  noReminders: ["Nothing yet. A reminder appears here when a todo is due.", "暂无提醒。待办事项到期时会显示在这里。"],
  newTodo: ["New todo", "新建待办事项"], title: ["Title", "标题"], due: ["Due", "到期时间"], add: ["Add", "添加"],
  soon: ["Due in 10 seconds", "10 秒后到期"], todos: ["Todos", "待办事项"], more: ["More", "更多"],
};

export const word = (name) => WORDS[name]?.[language === "zh" ? 1 : 0];
