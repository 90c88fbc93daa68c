// Runs before anything is painted, so that nobody who chose dark sees a white page first.
try {
  const theme = localStorage.getItem("flowcraft.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the system's setting holds.
}
