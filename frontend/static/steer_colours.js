// What the colours of written texts say is part of the address.
export function watchColours(section) {
  section.addEventListener("change", (event) => {
    if (event.target.name !== "colour") return;
    const address = new URL(location.href);
    address.searchParams.set("colour", event.target.value);
    history.replaceState(null, "", address);
  });
}
