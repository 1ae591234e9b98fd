// The token, once: it becomes a cookie that this browser keeps. A link may bring it behind the # sign, which is never
// sent to a server.

import { access, ask } from "./api.js";
import { connect } from "./state.js";

const dialog = document.getElementById("login");
const field = document.getElementById("token");
const message = document.getElementById("login-message");

async function login(token) {
  try {
    await ask("POST", "api/login", undefined, { Authorization: `Bearer ${token}` });
    return "";
  } catch (error) {
    return error.message;
  }
}

access.addEventListener("locked", () => {
  if (!dialog.open) dialog.showModal();
});
dialog.addEventListener("cancel", (event) => event.preventDefault());  // there is nothing to see without it
document.getElementById("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  message.textContent = await login(field.value.trim());
  if (message.textContent) return field.select();
  field.value = "";
  dialog.close();
  connect();
});

export async function loginFromLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname + location.search);
  await login(token);
}
