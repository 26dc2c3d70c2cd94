// Addresses of the server. Behind a proxy they lie below a path, which the page names.
export const root = document.documentElement.dataset.root ?? "";

/** The address as the browser needs it, of one that begins at the server's own root. */
export const rooted = (address) => root + address;

/** The same, the other way round. */
export const ownPath = (address) => (address.startsWith(root) ? address.slice(root.length) : address);
