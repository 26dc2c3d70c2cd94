// What this tab steers, kept over a reload: the form's state as its address says it, and its run.
const STORAGE_KEY = "steering";

function stateOf(search) {
  const values = new URLSearchParams(search);
  values.delete("colour");
  return String(values).replaceAll("%0D%0A", "%0A");
}

/** Keep for the form at an address: `start` when it is to steer at once, else its run: the ids under which it may be
    found, the message, and the number of turns before that. */
export function keep(search, found) {
  try {
    sessionStorage.setItem(STORAGE_KEY, JSON.stringify({ state: stateOf(search), ...found }));
  } catch {
    // A browser that stores nothing begins anew.
  }
}

/** What was kept, and whether it is of the form as it stands; null without any. */
export function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(STORAGE_KEY));
    return found && { ...found, current: found.state === stateOf(location.search) };
  } catch {
    return null;
  }
}

export function forget() {
  try {
    sessionStorage.removeItem(STORAGE_KEY);
  } catch {
    // Nothing was stored.
  }
}
