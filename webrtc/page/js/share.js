// The address for other devices, as text and as a QR code.

import { askJson } from "./api.js";

const dialog = document.getElementById("share");
const body = document.getElementById("share-body");

const paragraph = (text) => Object.assign(document.createElement("p"), { textContent: text });

async function open() {
  dialog.showModal();
  body.replaceChildren(paragraph("Looking for addresses …"));
  try {
    const { addresses, hint } = await askJson("GET", "api/share");
    const parts = addresses.flatMap(({ address, qr }) => {
      const picture = Object.assign(document.createElement("img"), { className: "qr", alt: `QR code of ${address}` });
      picture.src = `data:image/svg+xml,${encodeURIComponent(qr)}`;
      return [picture, Object.assign(document.createElement("code"), { textContent: address })];
    });
    body.replaceChildren(...parts, paragraph(hint));
  } catch (error) {
    body.replaceChildren(paragraph(error.message));
  }
}

document.getElementById("share-open").addEventListener("click", open);
