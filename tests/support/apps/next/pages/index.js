export default function Page() {
  return "next";
}
