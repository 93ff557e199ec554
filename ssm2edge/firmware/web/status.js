// The line of the page that says what goes on.
import { EdgeError } from "./index.js";

/** Say one sentence. */
export function say(text, bad = false) {
  const line = document.getElementById("status");
  line.textContent = text;
  line.classList.toggle("bad", bad);
}

/** Do some work, and say what went wrong with it. */
export async function attempt(work) {
  try {
    await work();
  } catch (fault) {
    say(fault instanceof EdgeError ? fault.message : `Something went wrong: ${fault.message ?? fault}`, true);
    if (!(fault instanceof EdgeError)) console.error(fault);
  }
}
