// Words beside the control they are about.

const ALIASES = { "style weight": "styles", style_vector: "style_image", body: "styles" };

const place = (field) => document.querySelector(`.message[data-field="${ALIASES[field] ?? field}"]`);

// A field without a control of its own is told at the one that was used.
export function say(field, text, otherwise = "styles") {
  const where = place(field) ?? place(otherwise) ?? place("styles");
  where.textContent = text;
  if (text) where.closest("details")?.setAttribute("open", "");
}

export const explain = (error, otherwise) => say(error.field ?? otherwise, error.message, otherwise);
