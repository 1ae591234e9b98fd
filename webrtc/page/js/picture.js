// A picture whose style is used: chosen, dropped or pasted.

import { change, current, daemon, isSending, request } from "./state.js";

const $ = (id) => document.getElementById(id);
const TEXT = $("drop-text").textContent;

async function use(file) {
  if (!file) return;
  $("drop-text").textContent = "reading the style …";
  const ok = await request("PUT", "api/style-picture", file, ["style_image"]);
  $("drop-text").textContent = TEXT;
  thumbnail(ok ? file : null);
}

function thumbnail(file) {
  const image = $("thumbnail");
  if (image.src) URL.revokeObjectURL(image.src);
  if (file) image.src = URL.createObjectURL(file);
  else image.removeAttribute("src");
  image.hidden = !file;
}

$("picture").addEventListener("change", (event) => use(event.target.files[0]));
$("remove-picture").addEventListener("click", () => change({ style_vector: null }));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") use([...event.dataTransfer.files].find((file) => file.type.startsWith("image/")));
  });
}
document.addEventListener("paste", (event) => {
  use([...event.clipboardData.files].find((file) => file.type.startsWith("image/")));
});
daemon.addEventListener("state", () => {
  if (isSending()) return;
  const has = current().parameters.style_picture;
  $("picture-options").hidden = !has;
  if (!has) thumbnail(null);
});
