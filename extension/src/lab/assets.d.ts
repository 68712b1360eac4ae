// Notebooks are bundled as their text.
declare module "*.ipynb" {
  const text: string;
  export default text;
}
